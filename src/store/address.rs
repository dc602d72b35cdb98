//! Describes the faults of a database URL without repeating a word of it, because it contains a password.

/// Known schemes of URLs, and what each is used for.
const SCHEMES: [(&str, &str); 17] = [
    ("cockroachdb", "CockroachDB"),
    ("file", "a file"),
    ("http", "a page"),
    ("https", "a page"),
    ("jdbc:mysql", "MySQL"),
    ("jdbc:postgresql", "PostgreSQL for Java"),
    ("mariadb", "MariaDB"),
    ("mongodb", "MongoDB"),
    ("mongodb+srv", "MongoDB"),
    ("mssql", "SQL Server"),
    ("mysql", "MySQL"),
    ("postgres", "PostgreSQL"),
    ("postgresql", "PostgreSQL"),
    ("postgresql+asyncpg", "PostgreSQL for Python"),
    ("postgresql+psycopg", "PostgreSQL for Python"),
    ("redis", "Redis"),
    ("sqlite", "SQLite"),
];

/// How to write the characters that would end a part of a URL.
pub(super) const ESCAPES: &str =
    "in the user and the password write %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and %25 for %";

/// Describes the scheme of a URL if it is not one of `ours`. Returns `None` if the text has no scheme.
pub(super) fn wrong_scheme(text: &str, ours: [&str; 2]) -> Option<String> {
    let (scheme, _) = text.split_once("://")?;
    if ours.contains(&scheme) {
        return None;
    }
    let right = format!("it must begin with {}:// or {}://", ours[0], ours[1]);
    let known = SCHEMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme));
    Some(match known {
        Some((known, _)) if ours.contains(known) => format!("the scheme {known}:// is written in small letters"),
        Some((known, what)) => format!("{known}:// is the scheme of {what}; {right}"),
        None => format!("the scheme is wrong; {right}"),
    })
}

/// Whether the user or password in a URL seems to contain a character that ends a part of a URL.
pub(super) fn seems_unescaped(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Some((login, _)) = rest.rsplit_once('@') else { return false };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    [user, password]
        .iter()
        .any(|part| part.contains(['@', '/', '?', '#', '[', ']', ':', ' ']) || has_bare_percent(part))
}

/// Whether there is a `%` that two hexadecimal digits do not follow.
fn has_bare_percent(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    text.match_indices('%').any(|(at, _)| {
        let behind = &text.as_bytes()[at + 1..];
        !(is_digit(behind.first()) && is_digit(behind.get(1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_scheme_is_named_only_if_it_is_one_that_everybody_knows() {
        let ours = ["postgresql", "postgres"];
        let problem = wrong_scheme("mysql://u:hunter2@h/d", ours).unwrap();
        assert_eq!(problem, "mysql:// is the scheme of MySQL; it must begin with postgresql:// or postgres://");
        let problem = wrong_scheme("hunter2://u:p@h/d", ours).unwrap();
        assert!(!problem.contains("hunter2") && problem.contains("postgresql://"), "{problem}");
        assert!(wrong_scheme("Postgres://h", ours).unwrap().contains("small letters"));
        assert_eq!(wrong_scheme("postgres://h", ours), None);
        assert_eq!(wrong_scheme("host=h", ours), None);
    }

    #[test]
    fn characters_that_should_be_escaped_are_seen() {
        for url in
            ["x://u:a@b@h", "x://u:a/b@h", "x://u:a#b@h", "x://u:a?b@h/d", "x://u:100%@h", "x://u:%4@h", "x://u:a:b@h"]
        {
            assert!(seems_unescaped(url), "{url}");
        }
        for url in ["x://h/d", "x://u@h/d", "x://u:p%40%2F@h:1/d?a=b", "host=h password=a@b", "x://u:p!$&'()*+,;=@h"] {
            assert!(!seems_unescaped(url), "{url}");
        }
    }
}
