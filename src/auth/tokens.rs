//! Static tokens: a file with one line for each token. It has the hash of the token and never the token itself.
//!
//! A line is `SHA-256 TENANT ROLE SUBJECT [EXPIRY]`, with white space between the parts. The hash has 64 hexadecimal
//! digits. The expiry is a day such as `2027-01-31`, and the token expires when this day begins in UTC. Empty lines and
//! lines that begin with `#` are skipped.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use ring::digest;
use subtle::ConstantTimeEq as _;

use super::grants::Grants;
use super::verify::VerifiedToken;
use crate::core::access::{Claims, Role};
use crate::core::names::{Subject, TenantId};
use crate::core::numbers::UnixMs;
use crate::limits::protocol::DAY_MS;

/// The hash of a token. Static tokens are compared by it, and verified tokens are cached under it.
pub type TokenHash = [u8; 32];

/// The hash of a token.
#[must_use]
pub fn hash(token: &str) -> TokenHash {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().try_into().unwrap_or_default()
}

/// Static tokens by their hashes. `Debug` shows only their number.
#[derive(Default)]
pub struct StaticTokens(Vec<(TokenHash, VerifiedToken)>);

/// A line that cannot be used. The error does not repeat its text. Lines are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadLine {
    /// The line cannot be read.
    #[error("line {line} is not SHA-256 TENANT ROLE SUBJECT [YYYY-MM-DD]")]
    Form {
        /// The number of the line.
        line: usize,
    },
    /// The line is about the same token as an earlier one.
    #[error("line {line} has the hash of line {first}; a token has one line")]
    SameToken {
        /// The number of the line.
        line: usize,
        /// The number of the earlier line.
        first: usize,
    },
}

impl StaticTokens {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// If a line cannot be read, or if two lines are about one token.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut line_of = HashMap::new();
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, token) = parse_line(line).ok_or(BadLine::Form { line: number })?;
            if let Some(first) = line_of.insert(hash, number) {
                return Err(BadLine::SameToken { line: number, first });
            }
            tokens.push((hash, token));
        }
        Ok(Self(tokens))
    }

    /// The token with this hash, if the file has it. The time that this takes tells nothing about the hashes.
    #[must_use]
    pub fn find(&self, hash: &TokenHash) -> Option<&VerifiedToken> {
        let mut found = None;
        for (known, token) in &self.0 {
            if bool::from(known.ct_eq(hash)) {
                found = Some(token);
            }
        }
        found
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} tokens", self.0.len())
    }
}

/// The line in the file for a new token.
#[must_use]
pub fn line(token: &str, tenant: &TenantId, role: Role, subject: &Subject, expiry: Option<&str>) -> Option<String> {
    let mut line = String::new();
    for byte in hash(token) {
        // Writing to a string cannot fail.
        let _ = write!(line, "{byte:02x}");
    }
    let _ = write!(line, " {tenant} {} {subject}", role.as_str());
    if let Some(day) = expiry {
        let _ = write!(line, " {day}");
    }
    // A name that contains white space would be read as two names.
    let (_, read) = parse_line(&line)?;
    let is_same = read.subject == *subject
        && read.grants == Grants::one(tenant.clone(), role)
        && read.valid_until_ms.is_some() == expiry.is_some();
    is_same.then_some(line)
}

fn parse_line(line: &str) -> Option<(TokenHash, VerifiedToken)> {
    let mut parts = line.split_whitespace();
    let (hash, tenant, role, subject) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let valid_until_ms = match parts.next() {
        Some(day) => Some(beginning_ms(day)?),
        None => None,
    };
    let token = VerifiedToken {
        subject: Subject::parse(subject).ok()?,
        grants: Grants::one(TenantId::parse(tenant).ok()?, Role::parse(role)?),
        claims: Claims::default(),
        valid_until_ms,
    };
    parts.next().is_none().then_some((parse_hash(hash)?, token))
}

fn parse_hash(text: &str) -> Option<TokenHash> {
    let mut hash = TokenHash::default();
    if text.len() != 2 * hash.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The time at which a day begins in UTC, in milliseconds since 1970.
fn beginning_ms(day: &str) -> Option<UnixMs> {
    let number = |range: std::ops::Range<usize>| {
        let digits = day.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u64>().ok()
    };
    if day.len() != 10 || day.get(4..5) != Some("-") || day.get(7..8) != Some("-") {
        return None;
    }
    let (year, month, date) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = if is_leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index = usize::try_from(month).ok()?.checked_sub(1)?;
    if year < 1_970 || date == 0 || date > *months.get(month_index)? {
        return None;
    }
    let days_of_years: u64 = (1_970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days_of_months: u64 = months[..month_index].iter().sum();
    Some(UnixMs::new((days_of_years + days_of_months + date - 1) * DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_line_says_whose_a_token_is() {
        let text =
            format!("# tokens\n\n  {HASH_OF_ABC}\tteam  reader   cron  \n{} b admin c 2000-03-01\r\n", "0".repeat(64));
        let tokens = StaticTokens::parse(&text).unwrap();
        let found = tokens.find(&hash("abc")).unwrap();
        let principal = found.principal(None).unwrap();
        assert_eq!((principal.tenant.as_str(), principal.subject.as_str()), ("team", "cron"));
        assert_eq!((principal.role, principal.valid_until_ms), (Role::Reader, None));
        assert_eq!(tokens.find(&[0; 32]).unwrap().valid_until_ms, Some(UnixMs::new(951_868_800_000)));
        assert_eq!(tokens.find(&hash("abd")), None);
        assert_eq!(format!("{tokens:?}"), "2 tokens");
    }

    #[test]
    fn no_line_is_made_that_means_something_else() {
        let line = |tenant: &str, subject: &str, expiry| {
            line("abc", &TenantId::literal(tenant), Role::Reader, &Subject::literal(subject), expiry)
        };
        assert_eq!(line("a", "cron", None), Some(format!("{HASH_OF_ABC} a reader cron")));
        assert!(line("a", "cron", Some("2027-01-31")).is_some());
        assert_eq!(line("a admin", "2030-01-01", None), None);
        assert_eq!(line("a", "cron 2030-01-01", None), None);
        assert_eq!(line("a", "cron", Some("soon")), None);
    }

    #[test]
    fn a_bad_line_is_named_and_not_repeated() {
        for bad in [
            "x".to_owned(),
            format!("{HASH_OF_ABC} team reader"),
            format!("{HASH_OF_ABC} team root cron"),
            format!("{HASH_OF_ABC} team reader cron soon"),
            format!("{HASH_OF_ABC} team reader cron 2027-01-01 x"),
            format!("{} team reader cron", &HASH_OF_ABC[1..]),
            format!("{}g team reader cron", &HASH_OF_ABC[1..]),
            format!("{HASH_OF_ABC} {} reader cron", "t".repeat(257)),
            "é".repeat(32) + " team reader cron",
        ] {
            assert_eq!(StaticTokens::parse(&format!("\n{bad}")).err(), Some(BadLine::Form { line: 2 }), "{bad}");
        }
        let twice = format!("{HASH_OF_ABC} a reader cron\n\n{} b admin cron", HASH_OF_ABC.to_uppercase());
        assert_eq!(StaticTokens::parse(&twice).err(), Some(BadLine::SameToken { line: 3, first: 1 }));
        for bad in ["2027-02-29", "2027-13-01", "2027-00-01", "2027-01-00", "1969-12-31", "27-01-01", "2027/01/01"] {
            assert_eq!(beginning_ms(bad), None, "{bad}");
        }
        assert_eq!(beginning_ms("1970-01-01"), Some(UnixMs::EPOCH));
        assert_eq!(beginning_ms("2028-02-29"), Some(UnixMs::new(1_835_395_200_000)));
    }

    #[test]
    fn a_new_line_can_be_read() {
        let (tenant, subject) = (TenantId::literal("t"), Subject::literal("s"));
        let new = line("abc", &tenant, Role::Admin, &subject, Some("2027-01-01")).unwrap();
        assert_eq!(new, format!("{HASH_OF_ABC} t admin s 2027-01-01"));
        assert_eq!(line("abc", &TenantId::literal("a b"), Role::Admin, &subject, None), None);
        assert_eq!(line("abc", &tenant, Role::Admin, &subject, Some("soon")), None);
    }
}
