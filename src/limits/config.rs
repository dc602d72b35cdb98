//! Limits of settings.

/// The largest file with a secret, or `.env` file, in bytes.
pub const SECRET_FILE_MAX_BYTES: usize = 64 * 1024;

/// The longest name that is compared, in bytes.
pub const VARIABLE_NAME_MAX_BYTES: usize = 64;

/// The most wrong letters in a name that is still reported as misspelt. The name is shown, so it must not be a
/// password.
pub const SLIP_MAX_LETTERS: usize = 3;

/// The longest value of a variable that an error repeats, in bytes.
pub const SHOWN_VALUE_MAX_BYTES: usize = 64;
