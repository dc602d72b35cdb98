//! The transport of a connection: TLS, or a bare socket that never carries a password in clear text.
//!
//! The driver sends the password in clear text if the server asks for that (`AuthenticationCleartextPassword`, as with
//! LDAP, PAM and tokens). An attacker who listens on the way, or who answers in place of the server, would learn it. So
//! on a connection without TLS, the server's first message is inspected before the driver reads it.
//!
//! On the machine itself nothing is inspected, because only its administrator can listen there. An impostor could
//! answer, but such a connection usually has TLS without verification, which would not stop an impostor either.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The message with which a client asks for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The message with which a server asks for the password in clear text.
const CLEARTEXT_PASSWORD: [u8; 9] = [b'R', 0, 0, 0, 8, 0, 0, 0, 3];

type RustlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The driver negotiates TLS with the server. If there is none, the driver continues by itself.
    AsTheDriverSays,
    /// TLS if the server offers it, and otherwise a guarded socket.
    TlsIfOffered,
    /// A guarded socket.
    Clear,
}

/// Makes the transport of each new connection.
#[derive(Clone)]
pub(crate) struct MakeTransport {
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) beginning: Beginning,
}

/// Makes the transport of one connection.
pub(crate) struct ConnectTransport {
    tls: RustlsConnect,
    beginning: Beginning,
}

impl MakeTlsConnect<Socket> for MakeTransport {
    type Stream = Transport;
    type TlsConnect = ConnectTransport;
    type Error = Infallible;

    fn make_tls_connect(&mut self, domain: &str) -> Result<ConnectTransport, Infallible> {
        let tls = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.tls, domain)?;
        Ok(ConnectTransport { tls, beginning: self.beginning })
    }
}

impl TlsConnect<Socket> for ConnectTransport {
    type Stream = Transport;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Transport>> + Send>>;

    fn connect(self, mut socket: Socket) -> Self::Future {
        Box::pin(async move {
            let has_tls = match self.beginning {
                Beginning::AsTheDriverSays => true,
                Beginning::TlsIfOffered => {
                    socket.write_all(&SSL_REQUEST).await?;
                    socket.flush().await?;
                    socket.read_u8().await? == b'S'
                }
                Beginning::Clear => false,
            };
            if has_tls {
                self.tls.connect(socket).await.map(|stream| Transport::Tls(Box::new(stream)))
            } else {
                Ok(Transport::Clear { socket, first: FirstMessage::default() })
            }
        })
    }
}

/// The transport of a connection.
pub(crate) enum Transport {
    Tls(Box<RustlsStream>),
    Clear { socket: Socket, first: FirstMessage },
}

/// The beginning of a server's first message. No later message asks the client to authenticate.
#[derive(Debug, Default)]
pub(crate) struct FirstMessage {
    bytes: [u8; CLEARTEXT_PASSWORD.len()],
    length: usize,
}

impl FirstMessage {
    /// Adds the next bytes from the server. Fails if it asks for the password in clear text.
    fn take(&mut self, bytes: &[u8]) -> Result<(), PasswordInClear> {
        if self.length == self.bytes.len() {
            return Ok(());
        }
        for (place, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *place = *byte;
            self.length += 1;
        }
        if self.bytes == CLEARTEXT_PASSWORD { Err(PasswordInClear) } else { Ok(()) }
    }
}

/// The server asks for the password in clear text, which is not sent.
#[derive(Debug)]
struct PasswordInClear;

impl fmt::Display for PasswordInClear {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(
            "the server asks for the password in clear over a connection without TLS, so it was not sent; set \
             sslmode=verify-full in the connection string, or let the server ask by scram-sha-256",
        )
    }
}

impl Error for PasswordInClear {}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Clear { socket, first } => {
                let before = buffer.filled().len();
                ready!(Pin::new(socket).poll_read(context, buffer))?;
                let read = buffer.filled().get(before..).unwrap_or_default();
                Poll::Ready(first.take(read).map_err(io::Error::other))
            }
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Clear { socket, .. } => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Clear { socket, .. } => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Clear { socket, .. } => Pin::new(socket).poll_shutdown(context),
        }
    }
}

impl TlsStream for Transport {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Self::Tls(stream) => stream.channel_binding(),
            Self::Clear { .. } => ChannelBinding::none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_for_a_password_in_clear_is_seen_however_it_is_cut() {
        for cut in 0..CLEARTEXT_PASSWORD.len() {
            let mut first = FirstMessage::default();
            let (head, tail) = CLEARTEXT_PASSWORD.split_at(cut);
            first.take(head).unwrap();
            assert!(first.take(tail).is_err(), "cut at {cut}");
        }
        let mut with_more = CLEARTEXT_PASSWORD.to_vec();
        with_more.extend(b"more");
        assert!(FirstMessage::default().take(&with_more).is_err());
    }

    #[test]
    fn other_messages_and_later_ones_pass() {
        let mut first = FirstMessage::default();
        first.take(&[b'R', 0, 0, 0, 8, 0, 0, 0, 0]).unwrap();
        first.take(&CLEARTEXT_PASSWORD).unwrap();
    }
}
