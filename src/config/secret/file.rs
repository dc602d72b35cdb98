//! Secrets in files, as Docker, Kubernetes and systemd provide them.

use std::fs::{self, File};
use std::io::{self, Read as _};

use crate::config::secret::may_be_in;
use crate::config::variables::ConfigError;
use crate::limits::config::SECRET_FILE_MAX_BYTES;

/// Reads the secret in a file without the end of its last line. An error names the file, but never its content.
pub(in crate::config) fn read(variable: &'static str, path: &str) -> Result<String, ConfigError> {
    let text = read_lines(variable, path)?;
    if text.contains(['\n', '\r', '\0']) {
        return Err(ConfigError::new(variable, format_args!("the file {path} has more than one line")));
    }
    Ok(text)
}

/// The same for a text that may have several lines.
pub(in crate::config) fn read_lines(variable: &'static str, path: &str) -> Result<String, ConfigError> {
    if may_be_in(path) && path.contains("://") {
        return Err(ConfigError::new(variable, "must be the path of a file, not the secret itself"));
    }
    let wrong = |problem: &str| ConfigError::new(variable, format_args!("the file {path} {problem}"));
    let cannot_be_read = |error: io::Error| wrong(&format!("cannot be read: {}", reason(&error)));
    // Opening a pipe without a writer would block the start for ever.
    if !fs::metadata(path).map_err(cannot_be_read)?.is_file() {
        return Err(wrong("is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot_be_read)?;
    file.take(SECRET_FILE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(cannot_be_read)?;
    if bytes.len() > SECRET_FILE_MAX_BYTES {
        return Err(wrong(&format!("has more than {SECRET_FILE_MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("is not in UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(text.to_owned())
}

/// The system's error for a file, in words that are the same on all systems.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is none".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLE: &str = "MONGO_URI_FILE";

    fn read_bytes(bytes: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, bytes).unwrap();
        read(VARIABLE, path.to_str().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_end_of_the_last_line_does_not_belong_to_a_secret() {
        for bytes in ["mongodb://u:p@h", "mongodb://u:p@h\n", "mongodb://u:p@h\r\n", "\u{feff}mongodb://u:p@h\n\n"] {
            assert_eq!(read_bytes(bytes.as_bytes()).as_deref(), Ok("mongodb://u:p@h"), "{bytes:?}");
        }
        assert_eq!(read_bytes(&vec![b'x'; SECRET_FILE_MAX_BYTES]).unwrap().len(), SECRET_FILE_MAX_BYTES);
    }

    #[test]
    fn an_error_names_the_variable_and_the_file_and_nothing_that_is_in_it() {
        let long = "hunter2 ".repeat(SECRET_FILE_MAX_BYTES / 8 + 1);
        for (bytes, reason) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"hunter2\nhunter2", "more than one line"),
            (b"hunter2\0", "more than one line"),
            (b"hunter2\xff", "UTF-8"),
            (long.as_bytes(), "more than 65536 bytes"),
        ] {
            let line = read_bytes(bytes).unwrap_err();
            assert!(line.starts_with("MONGO_URI_FILE: the file /") && line.contains(reason), "{line}");
            assert!(!line.contains("hunter2"), "{line}");
        }
        for (path, reason) in
            [("/no/such/file", "there is none"), ("/", "not a regular file"), ("/dev/zero", "not a regular file")]
        {
            let line = read(VARIABLE, path).unwrap_err().to_string();
            assert!(line.contains(path) && line.contains(reason), "{line}");
        }
        let line = read(VARIABLE, "mongodb://u:hunter2@h").unwrap_err().to_string();
        assert!(line.contains("not the secret itself") && !line.contains("hunter2"), "{line}");
    }
}
