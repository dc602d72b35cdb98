//! The file of rules: who may see, change and create which documents.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::config::secret::file;
use crate::config::variables::{ConfigError, Variables};
use crate::core::access::rules::{BadRules, CollectionRules, Holder, LabelSource, Rules};
use crate::core::names::Collection;
use crate::core::policy::{ConflictPolicy, Deletes};

/// Rules cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct BadRulesText {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The fault, in one line.
    pub problem: String,
}

/// The text as it is written. `docs/rules.md` explains it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    epoch: Option<u64>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, Spanned<WrittenLabel>>,
    #[serde(default)]
    collections: BTreeMap<Spanned<String>, WrittenCollection>,
    others: Option<WrittenOthers>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLabel {
    field: String,
    claim: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenCollection {
    read: Option<Vec<Spanned<String>>>,
    write: Option<Vec<Spanned<String>>>,
    /// The holders of `write` if it is missing.
    create: Option<Vec<Spanned<String>>>,
    conflicts: Option<Spanned<String>>,
    deletes: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenOthers {
    read: Option<Vec<Spanned<String>>>,
    write: Option<Vec<Spanned<String>>>,
    create: Option<Vec<Spanned<String>>>,
}

/// The rules of a text, and the conflict policies of collections in it.
pub(super) struct RulesText {
    pub(super) rules: Rules,
    /// The policies that are written, without those that are not.
    pub(super) policies: Vec<(Collection, Option<ConflictPolicy>, Option<Deletes>)>,
}

impl WrittenCollection {
    /// Whether it says nothing about who may do what, so that the rules of all others hold.
    fn has_only_policies(&self) -> bool {
        let has_policies = self.conflicts.is_some() || self.deletes.is_some();
        has_policies && self.read.is_none() && self.write.is_none() && self.create.is_none()
    }
}

/// Reads rules from their text in TOML.
///
/// # Errors
/// If it is not TOML, has unknown keys, or names labels or roles that do not exist. The error has the place.
pub fn parse(text: &str) -> Result<Rules, BadRulesText> {
    parse_all(text).map(|text| text.rules)
}

/// Reads rules and the policies beside them.
///
/// If the text has nothing but policies, there are no rules.
pub(super) fn parse_all(text: &str) -> Result<RulesText, BadRulesText> {
    let at = |span: Range<usize>, problem: &dyn fmt::Display| BadRulesText::at(text, span.start, problem);
    let written: Written =
        toml::from_str(text).map_err(|error| at(error.span().unwrap_or_default(), &error.message()))?;
    let mut labels = BTreeMap::new();
    for (name, source) in written.labels {
        let (name_span, source_span) = (name.span(), source.span());
        let WrittenLabel { field, claim } = source.into_inner();
        let source = LabelSource::new(&field, &claim).map_err(|bad| at(source_span, &bad))?;
        labels.insert(name.into_inner(), source);
        // The names of all labels so far are checked, so that an error has the place of the one at fault.
        let checked = Rules::new(labels.clone(), BTreeMap::new(), CollectionRules::default());
        checked.map_err(|bad| at(name_span, &bad))?;
    }
    let holders = |written: Vec<Spanned<String>>| {
        let holder = |text: Spanned<String>| {
            let (span, text) = (text.span(), text.into_inner());
            let holder = Holder::parse(&text).map_err(|bad| at(span.clone(), &bad))?;
            match &holder {
                Holder::Label(name) if !labels.contains_key(name) => {
                    Err(at(span, &BadRules::UnknownLabel(name.clone())))
                }
                _ => Ok(holder),
            }
        };
        written.into_iter().map(holder).collect::<Result<Vec<Holder>, BadRulesText>>()
    };
    let rules = |written: WrittenOthers| {
        let (read, write) = (holders(written.read.unwrap_or_default())?, holders(written.write.unwrap_or_default())?);
        let create = written.create.map_or_else(|| Ok(write.clone()), &holders)?;
        Ok(CollectionRules { read, write, create })
    };
    let has_rules = written.epoch.is_some()
        || written.others.is_some()
        || !labels.is_empty()
        || written.collections.is_empty()
        || written.collections.values().any(|of_collection| !of_collection.has_only_policies());
    let (mut collections, mut policies) = (BTreeMap::new(), Vec::new());
    for (name, of_collection) in written.collections {
        let collection = Collection::parse(name.as_ref()).map_err(|bad| at(name.span(), &bad))?;
        let has_only_policies = of_collection.has_only_policies();
        let WrittenCollection { read, write, create, conflicts, deletes } = of_collection;
        let policy = conflicts.map(|text| ConflictPolicy::parse(text.as_ref()).map_err(|bad| at(text.span(), &bad)));
        let deletes = deletes.map(|text| Deletes::parse(text.as_ref()).map_err(|bad| at(text.span(), &bad)));
        policies.push((collection.clone(), policy.transpose()?, deletes.transpose()?));
        if !has_only_policies {
            collections.insert(collection, rules(WrittenOthers { read, write, create })?);
        }
    }
    if !has_rules {
        return Ok(RulesText { rules: Rules::default(), policies });
    }
    let others = rules(written.others.unwrap_or_default())?;
    let rules = Rules::new(labels, collections, others).map_err(|bad| at(0..0, &bad))?;
    let rules = written.epoch.map_or(rules.clone(), |epoch| rules.with_epoch(epoch));
    Ok(RulesText { rules, policies })
}

impl BadRulesText {
    fn at(text: &str, offset: usize, problem: &dyn fmt::Display) -> Self {
        let before = text.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let problem = problem.to_string().replace(['\n', '\r'], " ");
        Self { line, column, problem }
    }
}

/// The rules of `RULES`, or of the file that `RULES_FILE` names.
pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Rules, ConfigError> {
    Ok(read_all(variables)?.rules)
}

/// The same with the policies.
pub(super) fn read_all(variables: &Variables<'_>) -> Result<RulesText, ConfigError> {
    let (variable, text) = match (variables.get("RULES"), variables.get("RULES_FILE")) {
        (Some(_), Some(_)) => return Err(ConfigError::new("RULES_FILE", "cannot be set beside RULES")),
        (Some(text), None) => ("RULES", text),
        (None, Some(path)) => ("RULES_FILE", file::read_lines("RULES_FILE", &path)?),
        (None, None) => return Ok(RulesText { rules: Rules::default(), policies: Vec::new() }),
    };
    parse_all(&text).map_err(|bad| ConfigError::new(variable, bad))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::variables::read_from;
    use crate::core::access::rules::Right;
    use crate::core::access::{Claims, Principal, Role};
    use crate::core::json::Object;
    use crate::core::names::{Subject, TenantId};

    const RULES: &str = r#"
        [labels]
        owner = { field = "owner", claim = "sub" }
        list = { field = "list.id", claim = "lists" }

        [collections.todos]
        read = ["owner", "list"]
        write = ["owner"]

        [collections.settings]
        read = ["everyone"]
        write = ["role:admin"]
        create = []
    "#;

    fn principal(subject: &str, role: Role) -> Principal {
        let lists = json!(["a", 7, true, "", {"x": 1}]);
        Principal::new(TenantId::literal("t"), Subject::literal(subject), role)
            .with_claims(Claims::new([("lists".to_owned(), lists)]))
    }

    #[test]
    fn rules_say_who_may_do_what() {
        let rules = parse(RULES).unwrap();
        let may = |subject: &str, role: Role, collection: &str, data: &str| {
            let (view, data) = (rules.view(&principal(subject, role)), Object::literal(data));
            Right::ALL.map(|right| view.permits(right, &Collection::literal(collection), &data))
        };
        assert_eq!(may("me", Role::Writer, "todos", r#"{"owner":"me"}"#), [true, true, true]);
        assert_eq!(may("me", Role::Writer, "todos", r#"{"owner":"you","list":{"id":"a"}}"#), [true, false, false]);
        assert_eq!(may("me", Role::Writer, "todos", r#"{"list":{"id":[1,7]}}"#), [true, false, false]);
        assert_eq!(may("me", Role::Admin, "todos", r#"{"owner":"you","list":{"id":"b"}}"#), [false; 3]);
        assert_eq!(may("me", Role::Writer, "todos", r#"{"owner":"","list":{"id":true}}"#), [false; 3]);
        assert_eq!(may("me", Role::Writer, "settings", "{}"), [true, false, false]);
        assert_eq!(may("me", Role::Admin, "settings", "{}"), [true, true, false]);
        assert_eq!(may("me", Role::Admin, "unnamed", r#"{"owner":"me"}"#), [false; 3]);
        assert_eq!(may("me", Role::Service, "unnamed", "{}"), [true; 3]);
    }

    #[test]
    fn a_view_has_a_fingerprint_of_all_that_it_depends_on() {
        let fingerprint =
            |text: &str, subject: &str, role: Role| parse(text).unwrap().view(&principal(subject, role)).fingerprint();
        let mine = fingerprint(RULES, "me", Role::Writer);
        assert!(mine.is_some());
        assert_eq!(mine, fingerprint(&format!("{RULES}\n# a comment"), "me", Role::Writer));
        assert_ne!(mine, fingerprint(RULES, "you", Role::Writer));
        assert_ne!(mine, fingerprint(RULES, "me", Role::Admin));
        assert_ne!(mine, fingerprint(&format!("epoch = 1\n{RULES}"), "me", Role::Writer));
        assert_ne!(mine, fingerprint(&RULES.replace("\"owner\", \"list\"", "\"owner\""), "me", Role::Writer));
        assert_eq!(fingerprint(RULES, "me", Role::Service), None);
        let open = "[others]\nread = [\"everyone\"]\nwrite = [\"role:admin\"]";
        assert_eq!(fingerprint(open, "me", Role::Reader), None, "it sees everything");
    }

    #[test]
    fn a_fault_has_its_place() {
        for (text, expected) in [
            ("[labels", "line 1, column 8: "),
            ("[labels]\nEveryone = { field = \"a\", claim = \"b\" }", "line 2, column 1: \"Everyone\" is not the name"),
            ("[labels]\na = { field = \"a\" }", "line 2, column 5: missing field `claim`"),
            ("[labels]\na = { field = \"a..b\", claim = \"c\" }", "line 2, column 5: the path \"a..b\""),
            ("[others]\nread = [\"everyone\", \"owner\"]", "line 2, column 21: \"owner\" is not a label"),
            ("[others]\nread = [\"role:root\"]", "line 2, column 9: \"role:root\" is not a role"),
            ("[others]\nsee = []", "line 2, column 1: unknown field `see`"),
            ("[collections.\"\"]\nread = []", "line 1, column 14: "),
            ("[collections.a]\nread = \"everyone\"", "line 2, column 8: invalid type"),
            ("[collections.a]\nconflicts = \"custom\"", "line 2, column 13: must be reject, server-wins, "),
            ("[collections.a]\nread = []\ndeletes = \"no\"", "line 3, column 11: must be win or lose"),
            ("[others]\nconflicts = \"merge\"", "line 2, column 1: unknown field `conflicts`"),
        ] {
            let line = parse(text).unwrap_err().to_string();
            assert!(line.starts_with(expected) && !line.contains('\n'), "{line}, not {expected}");
        }
    }

    #[test]
    fn policies_alone_forbid_nothing() {
        let only = parse("[collections.todos]\nconflicts = \"merge\"").unwrap();
        assert!(!only.are_set());
        let everyone = "[others]\nread = [\"everyone\"]\nwrite = [\"everyone\"]";
        let beside = parse(&format!("{everyone}\n[collections.todos]\nconflicts = \"merge\"")).unwrap();
        let view = beside.view(&principal("me", Role::Writer));
        assert!(view.permits(Right::Write, &Collection::literal("todos"), &Object::literal("{}")));
        for closed in ["", "[collections.todos]", "[others]"] {
            assert!(parse(closed).unwrap().are_set(), "{closed}");
        }
    }

    #[test]
    fn rules_come_from_one_variable() {
        let set = |set: &[(&str, &str)]| read_from(set, read);
        assert!(!set(&[]).unwrap().are_set());
        assert!(set(&[("RULES", "[others]\nread = [\"everyone\"]")]).unwrap().are_set());
        assert!(set(&[("RULES", "x"), ("RULES_FILE", "y")]).unwrap_err().starts_with("RULES_FILE: cannot be set"));
        assert!(set(&[("RULES", "x")]).unwrap_err().starts_with("RULES: line 1, column 2"));
        let missing = set(&[("RULES_FILE", "/no/such/file")]).unwrap_err();
        assert!(missing.starts_with("RULES_FILE: "), "{missing}");
    }
}
