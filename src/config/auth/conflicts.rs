//! The conflict policies: one variable for all collections, and the rules for each that has its own.

use super::rules::{BadRulesText, parse_all, read_all};
use crate::config::variables::{ConfigError, Variables, wrong};
use crate::core::names::Collection;
use crate::core::policy::{ConflictPolicy, Deletes, Policies};

/// Reads the policies of the collections in a text of rules. `others` has the policy of all other collections.
///
/// # Errors
/// The errors of [`parse_rules`](crate::config::parse_rules).
pub fn parse(text: &str, others: &Policies) -> Result<Policies, BadRulesText> {
    Ok(with(others, parse_all(text)?.policies))
}

fn with(
    others: &Policies,
    written: impl IntoIterator<Item = (Collection, Option<ConflictPolicy>, Option<Deletes>)>,
) -> Policies {
    let (default_policy, default_deletes) = others.of_others();
    written.into_iter().fold(others.clone(), |policies, (collection, policy, deletes)| {
        policies.with_collection(collection, policy.unwrap_or(default_policy), deletes.unwrap_or(default_deletes))
    })
}

pub(in crate::config) fn read(variables: &Variables<'_>) -> Result<Policies, ConfigError> {
    let policy = variables.get_or("CONFLICT_POLICY", ConflictPolicy::default().as_str());
    let policy = ConflictPolicy::parse(&policy).map_err(|bad| wrong("CONFLICT_POLICY", &bad.to_string(), &policy))?;
    let deletes = variables.get_or("CONFLICT_DELETES", Deletes::default().as_str());
    let deletes = Deletes::parse(&deletes).map_err(|bad| wrong("CONFLICT_DELETES", &bad.to_string(), &deletes))?;
    Ok(with(&Policies::for_all(policy, deletes), read_all(variables)?.policies))
}

/// Whether operations that cannot be decided are kept in quarantine.
pub(in crate::config) fn has_quarantine(variables: &Variables<'_>) -> Result<bool, ConfigError> {
    match &*variables.get_or("POISON", "refuse") {
        "refuse" => Ok(false),
        "quarantine" => Ok(true),
        other => Err(wrong("POISON", "must be refuse or quarantine", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn a_collection_has_what_its_rules_say_and_else_what_the_variables_say() {
        let rules = "[collections.todos]\nconflicts = \"merge\"\n[collections.notes]\ndeletes = \"lose\"";
        let of = |set: &[(&str, &str)], collection: &str| {
            read_from(set, read).map(|policies| policies.of(&Collection::literal(collection)))
        };
        assert_eq!(of(&[], "todos"), Ok((ConflictPolicy::Reject, Deletes::Win)));
        let set = [("RULES", rules), ("CONFLICT_POLICY", "last-writer-wins")];
        assert_eq!(of(&set, "todos"), Ok((ConflictPolicy::Merge, Deletes::Win)));
        assert_eq!(of(&set, "notes"), Ok((ConflictPolicy::LastWriterWins, Deletes::Lose)));
        assert_eq!(of(&set, "others"), Ok((ConflictPolicy::LastWriterWins, Deletes::Win)));
        assert_eq!(of(&[("CONFLICT_DELETES", "lose")], "todos"), Ok((ConflictPolicy::Reject, Deletes::Lose)));
        let poison = |value| read_from(&[("POISON", value)], has_quarantine);
        assert_eq!((poison(""), poison("refuse"), poison("quarantine")), (Ok(false), Ok(false), Ok(true)));
        assert!(poison("keep").unwrap_err().starts_with("POISON: must be refuse or quarantine"));
        for (variable, value) in [("CONFLICT_POLICY", "custom"), ("CONFLICT_DELETES", "yes")] {
            let problem = of(&[(variable, value)], "todos").unwrap_err();
            assert!(problem.starts_with(&format!("{variable}: must be ")), "{problem}");
        }
    }
}
