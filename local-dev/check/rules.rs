//! Rules from the command line: `rules check` for a file, and `rules explain` for one document and one principal.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;
use syncflow_server::config::{parse_policies, parse_rules};
use syncflow_server::core::access::rules::{Right, Rules};
use syncflow_server::core::access::{Claims, Principal, Role};
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{Collection, Subject, TenantId};
use syncflow_server::core::policy::Policies;

/// The document and the principal in question.
pub(crate) struct Asked {
    path: String,
    collection: Collection,
    document: String,
    subject: Subject,
    role: Role,
    claims: String,
}

/// Reads the arguments after `rules explain`. Returns `None` if they are wrong.
pub(crate) fn read(options: &[&str]) -> Option<Asked> {
    let (mut path, mut collection, mut document, mut subject) = (None, None, None, None);
    let (mut role, mut claims) = (Role::Writer, "{}");
    let pairs = options.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    for pair in pairs {
        match pair[0] {
            "--rules" => path = Some(pair[1].to_owned()),
            "--collection" => collection = Some(Collection::parse(pair[1]).ok()?),
            "--document" => document = Some(pair[1].to_owned()),
            "--subject" => subject = Some(Subject::parse(pair[1]).ok()?),
            "--role" => role = Role::parse(pair[1])?,
            "--claims" => claims = pair[1],
            _ => return None,
        }
    }
    let claims = claims.to_owned();
    Some(Asked { path: path?, collection: collection?, document: document?, subject: subject?, role, claims })
}

/// Says that the rules of a file can be used.
pub(crate) fn check(path: &str) -> Result<String, Box<dyn Error>> {
    let text = text(path)?;
    let is_open = !parsed(path, &text)?.are_set();
    let note = if is_open { "; it has no rules but conflict policies, so it forbids nothing" } else { "" };
    Ok(format!("{path} can be used{note}\n"))
}

/// Says which rights the principal has to the document, and why.
pub(crate) fn explain(asked: &Asked) -> Result<String, Box<dyn Error>> {
    let text_of_rules = text(&asked.path)?;
    let rules = parsed(&asked.path, &text_of_rules)?;
    let document = Object::parse(asked.document.as_str()).map_err(|problem| format!("--document: {problem}"))?;
    let claims: Value = serde_json::from_str(&asked.claims).map_err(|problem| format!("--claims: {problem}"))?;
    let Value::Object(claims) = claims else { return Err("--claims: must be an object".into()) };
    let tenant = TenantId::parse("the-tenant").map_err(|problem| problem.to_string())?;
    let principal = Principal::new(tenant, asked.subject.clone(), asked.role).with_claims(Claims::new(claims));
    let view = rules.view(&principal);
    let mut text = String::new();
    for right in Right::ALL {
        let is_permitted = view.permits(right, &asked.collection, &document);
        let holders = rules.explain(&principal, right, &asked.collection, &document);
        let names = |applies: bool| {
            let names = holders.iter().filter(|(_, it)| *it == applies).map(|(holder, _)| holder.to_string());
            names.collect::<Vec<_>>().join(", ")
        };
        let reason = match (is_permitted, holders.is_empty()) {
            (true, true) => "by its role".to_owned(),
            (true, false) => format!("by {}", names(true)),
            (false, true) => "no one may".to_owned(),
            (false, false) => format!("needs one of: {}", names(false)),
        };
        let answer = if is_permitted { "yes" } else { "no" };
        writeln!(text, "{:<7} {answer:<4} {reason}", right.as_str())?;
    }
    let policies = parse_policies(&text_of_rules, &Policies::default())?;
    let (policy, deletes) = policies.of(&asked.collection);
    if policy.resolves() {
        writeln!(text, "conflicts: {}, deletes {}", policy.as_str(), deletes.as_str())?;
    }
    Ok(text)
}

fn text(path: &str) -> Result<String, Box<dyn Error>> {
    Ok(fs::read_to_string(path).map_err(|problem| format!("{path}: cannot be read: {problem}"))?)
}

fn parsed(path: &str, text: &str) -> Result<Rules, Box<dyn Error>> {
    Ok(parse_rules(text).map_err(|problem| format!("{path}: {problem}"))?)
}
