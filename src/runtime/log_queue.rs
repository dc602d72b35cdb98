//! Lines of the log that wait to be written.
//!
//! The standard error may be a pipe that is not read. Neither a request nor the end of the process may wait for it. So
//! a separate thread writes the lines. If they come faster than they can be written, some are lost; the log says how
//! many.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::limits::runtime::{
    LOG_BUFFER_KEPT_BYTES, LOG_END_TIME_MAX_MS, LOG_PAUSE_MS, LOG_PIECE_BYTES, LOG_QUEUE_MAX_BYTES,
};

/// The lines that wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines.
    text: Vec<u8>,
    lost_lines: u64,
    /// Whether the writing thread waits to be told that there is something.
    is_waiting: bool,
    is_ending: bool,
    has_ended: bool,
}

impl Queue {
    /// Starts the writing thread. When the result is dropped, the thread has a short time for the rest.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub(super) fn start(&self, mut out: impl Write + Send + 'static) -> io::Result<QueueEnd> {
        let queue = self.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || queue.write_all(&mut out))?;
        Ok(QueueEnd(self.clone()))
    }

    /// How many bytes of lines wait to be written.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.lock().text.len()
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.text.len() + line.len() > LOG_QUEUE_MAX_BYTES {
            state.lost_lines += 1;
            return;
        }
        state.text.extend_from_slice(line);
        let is_waiting = mem::take(&mut state.is_waiting);
        drop(state);
        if is_waiting {
            self.0.changed.notify_all();
        }
    }

    fn write_all(&self, out: &mut impl Write) {
        let mut text = Vec::new();
        while let Some(lost_lines) = self.next(&mut text) {
            // This line must find room, so it does not wait until the others are written.
            if lost_lines > 0 {
                tracing::warn!(
                    log.lost_lines = lost_lines,
                    "lines of the log could not be written in time and are lost"
                );
            }
            for lines in pieces(&text) {
                // If the log cannot be written, this cannot be reported anywhere.
                let _ = out.write_all(lines);
            }
            self.collect();
        }
        self.lock().has_ended = true;
        self.0.changed.notify_all();
    }

    /// Takes the lines that wait, at least one, and answers how many were lost. `None` at the end.
    fn next(&self, text: &mut Vec<u8>) -> Option<u64> {
        text.clear();
        text.shrink_to(LOG_BUFFER_KEPT_BYTES);
        let mut state = self.lock();
        loop {
            if !state.text.is_empty() {
                mem::swap(&mut state.text, text);
                return Some(mem::take(&mut state.lost_lines));
            }
            if state.is_ending {
                return None;
            }
            state.is_waiting = true;
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits a moment, or until the end, so that the lines of many requests are written together.
    fn collect(&self) {
        let pause = Duration::from_millis(LOG_PAUSE_MS);
        drop(self.0.changed.wait_timeout_while(self.lock(), pause, |state| !state.is_ending));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole lines, in pieces that a pipe takes as a whole unless a line alone is longer.
fn pieces(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_end = |byte: &u8| *byte == b'\n';
    std::iter::from_fn(move || {
        let most = text.len().min(LOG_PIECE_BYTES);
        let whole =
            if most == text.len() { Some(most) } else { text[..most].iter().rposition(is_end).map(|at| at + 1) };
        let end = whole.or_else(|| text.iter().position(is_end).map(|at| at + 1)).unwrap_or(text.len());
        let (lines, rest) = text.split_at(end);
        text = rest;
        (!lines.is_empty()).then_some(lines)
    })
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// Adds one line, which is written in one piece.
#[derive(Debug)]
pub(super) struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The end of the log. When it is dropped, it waits a short time until all lines are written.
#[derive(Debug)]
pub struct QueueEnd(Queue);

impl Drop for QueueEnd {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_ending = true;
        self.0.0.changed.notify_all();
        let time_max = Duration::from_millis(LOG_END_TIME_MAX_MS);
        drop(self.0.0.changed.wait_timeout_while(state, time_max, |state| !state.has_ended));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A pipe that can be written only while it is read.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (Queue, QueueEnd, Receiver<Vec<u8>>) {
        let (writer, reader) = sync_channel(0);
        let queue = Queue::default();
        let end = queue.start(Pipe(writer)).unwrap();
        (queue, end, reader)
    }

    #[test]
    fn lines_are_written_in_their_order_to_the_last() {
        let (queue, end, reader) = queue();
        for number in 0..100_u8 {
            queue.push(&[number]);
        }
        let reading = thread::spawn(move || reader.iter().flatten().collect::<Vec<u8>>());
        drop(end);
        assert_eq!(reading.join().unwrap(), (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn what_nobody_reads_is_bounded_and_counted_and_holds_up_nobody() {
        let (queue, end, reader) = queue();
        let line = vec![b'x'; 1024];
        let lines = LOG_QUEUE_MAX_BYTES / line.len() * 3;
        for _ in 0..lines {
            queue.push(&line);
        }
        let state = queue.lock();
        assert!(state.text.len() <= LOG_QUEUE_MAX_BYTES);
        assert!(state.lost_lines > 0 && state.lost_lines < lines as u64);
        drop(state);
        drop(end);
        drop(reader);
    }

    #[test]
    fn lines_are_written_in_pieces_that_end_with_a_line() {
        let long = vec![b'x'; LOG_PIECE_BYTES * 2];
        let text = [b"a\n".repeat(LOG_PIECE_BYTES / 2 + 1), long, b"\nb\n".to_vec()].concat();
        let found: Vec<&[u8]> = pieces(&text).collect();
        let bytes: Vec<usize> = found.iter().map(|lines| lines.len()).collect();
        assert_eq!(bytes, [LOG_PIECE_BYTES, 2, LOG_PIECE_BYTES * 2 + 1, 2]);
        assert_eq!(found.concat(), text);
        assert_eq!(pieces(b"without an end").collect::<Vec<_>>(), [b"without an end"]);
    }

    /// An output that is so slow that the queue fills up again meanwhile.
    struct Slow {
        queue: Queue,
        written: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.queue.lock().is_ending {
                self.queue.push(&vec![b'\n'; LOG_QUEUE_MAX_BYTES / 2]);
                self.queue.push(&vec![b'\n'; LOG_QUEUE_MAX_BYTES / 2]);
                self.queue.lock().is_ending = true;
            }
            self.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_number_of_lost_lines_has_room_however_fast_others_come() {
        let queue = Queue::default();
        queue.push(&vec![b'\n'; LOG_QUEUE_MAX_BYTES]);
        queue.push(b"lost");
        let mut out = Slow { queue: queue.clone(), written: Vec::new() };
        let lines = tracing_subscriber::fmt().with_writer(queue.clone()).with_ansi(false).finish();
        tracing::subscriber::with_default(lines, || queue.write_all(&mut out));
        let written = String::from_utf8(out.written).unwrap();
        assert!(written.contains("log.lost_lines=1"), "{}", written.trim());
    }

    #[test]
    fn the_number_of_lost_lines_is_said_when_there_is_room_again() {
        let queue = Queue::default();
        queue.push(&vec![0; LOG_QUEUE_MAX_BYTES / 2]);
        queue.push(&vec![0; LOG_QUEUE_MAX_BYTES / 2]);
        queue.push(b"lost");
        queue.push(b"lost too");
        let mut text = Vec::new();
        assert_eq!((queue.next(&mut text), text.len()), (Some(2), LOG_QUEUE_MAX_BYTES));
        queue.push(b"next");
        assert_eq!((queue.next(&mut text), text.as_slice()), (Some(0), b"next".as_slice()));
    }
}
