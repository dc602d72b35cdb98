//! Limits of settings.

/// Largest file that a secret or a `.env` is read from, in bytes.
pub const SECRET_FILE_MAX_BYTES: usize = 64 * 1024;

/// Longest name that is compared, in bytes.
pub const VARIABLE_NAME_MAX_BYTES: usize = 64;

/// Most wrong letters in a name that is taken for a slip. The name is shown, so it must not have a password in it.
pub const SLIP_MAX_LETTERS: usize = 3;

/// Longest value of a variable that an error repeats, in bytes.
pub const SHOWN_VALUE_MAX_BYTES: usize = 64;
