//! Rules, and a second judgement of what they allow that shares no code with the one that is tested.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use syncflow_server::core::access::Role;
use syncflow_server::core::access::rules::Right;

/// The holders of a right: names of labels, `everyone`, or a role behind `role:`.
type Holders = &'static [&'static str];

/// The holders of the rights to read, to write and to create.
type Section = [Holders; 3];

/// Rules of all kinds.
pub(super) struct RuleSet {
    /// The name, field and claim of each label.
    labels: &'static [(&'static str, &'static str, &'static str)],
    collections: &'static [(&'static str, Section)],
    others: Section,
}

/// A label by which devices share documents.
const LIST: (&str, &str, &str) = ("list", "list", "lists");
const OWNER: (&str, &str, &str) = ("owner", "owner", "sub");

/// The rules between which histories change; none of them are rules too.
pub(super) static SETS: [Option<RuleSet>; 4] = [
    Some(RuleSet {
        labels: &[LIST, OWNER],
        collections: &[
            ("todos", [&["list"], &["list"], &["list"]]),
            ("notes", [&["owner"], &["owner"], &["everyone"]]),
            ("news", [&["everyone"], &["role:admin"], &["role:admin"]]),
        ],
        others: [&[], &[], &[]],
    }),
    Some(RuleSet {
        labels: &[LIST, OWNER, ("place", "at.list", "lists")],
        collections: &[
            ("todos", [&["list", "owner"], &["owner"], &["everyone"]]),
            ("notes", [&["place"], &["place", "list"], &["list"]]),
        ],
        others: [&["role:admin"], &["role:writer"], &["role:writer"]],
    }),
    Some(RuleSet { labels: &[LIST], collections: &[], others: [&["everyone"], &["list"], &["everyone"]] }),
    None,
];

/// The user or program that makes requests.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) subject: &'static str,
    pub(super) role: Role,
    pub(super) lists: BTreeSet<&'static str>,
}

impl RuleSet {
    /// The rules as an operator writes them.
    pub(super) fn toml(&self, epoch: u64) -> String {
        let mut text = format!("epoch = {epoch}\n[labels]\n");
        let mut line = |line: String| writeln!(text, "{line}").expect("a text takes everything");
        for (name, field, claim) in self.labels {
            line(format!("{name} = {{ field = \"{field}\", claim = \"{claim}\" }}"));
        }
        let named = self.collections.iter().map(|(name, section)| (format!("collections.{name}"), section));
        for (name, [read, write, create]) in named.chain([("others".to_owned(), &self.others)]) {
            line(format!("[{name}]\nread = {read:?}\nwrite = {write:?}\ncreate = {create:?}"));
        }
        text
    }

    fn holders(&self, right: Right, collection: &str) -> Holders {
        let section = self.collections.iter().find(|(name, _)| *name == collection);
        let [read, write, create] = section.map_or(self.others, |(_, section)| *section);
        match right {
            Right::Read => read,
            Right::Write => write,
            Right::Create => create,
        }
    }

    /// Whether a person has a right to all documents of a collection.
    pub(super) fn permits_in_general(&self, right: Right, who: &Person, collection: &str) -> bool {
        self.holders(right, collection).iter().any(|holder| match holder.strip_prefix("role:") {
            Some(role) => Role::parse(role).is_some_and(|least| who.role >= least),
            None => *holder == "everyone",
        })
    }

    /// Whether a person may see every document.
    pub(super) fn shows_all_to(&self, who: &Person) -> bool {
        let sections = self.collections.iter().map(|(name, _)| *name).chain(["of the others"]);
        sections.into_iter().all(|collection| self.permits_in_general(Right::Read, who, collection))
    }

    /// The labels of a document by which a right to it is held.
    pub(super) fn labels_of(&self, right: Right, collection: &str, data: &Value) -> BTreeSet<String> {
        let holders = self.holders(right, collection);
        let labels = self.labels.iter().filter(|(name, ..)| holders.contains(name));
        let values = |field: &str| field.split('.').try_fold(data, |value, key| value.get(key));
        let label = |name: &str, value: &Value| value.as_str().map(|value| format!("{name}:{value}"));
        labels
            .flat_map(|(name, field, _)| match values(field) {
                Some(Value::Array(several)) => several.iter().filter_map(|value| label(name, value)).collect(),
                Some(value) => label(name, value).into_iter().collect::<Vec<_>>(),
                None => Vec::new(),
            })
            .collect()
    }

    /// The labels of a person.
    pub(super) fn labels_held_by(&self, who: &Person) -> BTreeSet<String> {
        let of = |(name, _, claim): &(&str, &str, &str)| -> Vec<String> {
            if *claim == "sub" {
                return vec![format!("{name}:{}", who.subject)];
            }
            who.lists.iter().map(|list| format!("{name}:{list}")).collect()
        };
        self.labels.iter().flat_map(of).collect()
    }

    /// Whether a person has a right to a document with this data.
    pub(super) fn permits(&self, right: Right, who: &Person, collection: &str, data: &Value) -> bool {
        self.permits_in_general(right, who, collection)
            || !self.labels_of(right, collection, data).is_disjoint(&self.labels_held_by(who))
    }
}
