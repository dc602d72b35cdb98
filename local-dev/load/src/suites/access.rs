//! The cost of tokens and rules: the same requests with tokens, and with tokens and rules.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use http::Method;
use serde_json::json;
use syncflow_server::auth::sign_hs256;

use super::Bench;
use super::push::push_load;
use crate::Result;
use crate::client::Client;
use crate::load::{Load, Watch, drive};
use crate::report::{Goal, Measure, Sample};
use crate::site::{Guard, Site, TENANT};
use crate::work::{COLLECTION, LIST, Work, document_name};

const CONNECTIONS: u64 = 8;
const PUSHED_OPERATIONS: usize = 50;
const PULLED_DOCUMENTS: u64 = 1_000;

/// When the suite begins, the log has this many operations for each document.
const LOG_PER_DOCUMENT: u64 = 3;

const SECRET: &str = "a secret for the tokens of a measurement";

/// All documents are in one list, which the token has beside others. So the server has to look at each of them.
const RULES: &str = "[labels]
list = { field = \"note\", claim = \"lists\" }
[others]
read = [\"list\"]
write = [\"list\"]
";

/// The most CPU time with tokens, as a multiple of that without.
const TOKENS_MAX_RATIO: f64 = 1.05;

/// The most CPU time with rules, as a multiple of that without.
const RULES_MAX_RATIO: f64 = 1.15;

#[derive(Debug, Clone, Copy)]
enum Kind {
    Push,
    Pull,
    Document,
    Query,
}

impl Kind {
    const COMPARED: [Self; 3] = [Self::Push, Self::Pull, Self::Document];
    const HIDDEN: [Self; 2] = [Self::Pull, Self::Query];

    fn name(self) -> String {
        match self {
            Self::Push => format!("push, batches of {PUSHED_OPERATIONS}"),
            Self::Pull => format!("pull of documents, pages of {PULLED_DOCUMENTS}"),
            Self::Document => "document".to_owned(),
            Self::Query => "query of a collection".to_owned(),
        }
    }
}

/// A token with ten lists that is valid for a day. The last list is this one.
fn token(last: &str) -> Result<String> {
    let lists: Vec<String> = (0..9).map(|number| format!("list-{number}")).chain([last.to_owned()]).collect();
    let exp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 24 * 60 * 60;
    Ok(sign_hs256(SECRET.as_bytes(), &json!({"sub": "ann", "exp": exp, "lists": lists})))
}

fn guard(rules: Option<&str>) -> Result<Guard> {
    let mut variables = vec![("AUTH_HS256_SECRET", SECRET.to_owned()), ("AUTH_TENANT", TENANT.to_owned())];
    variables.extend(rules.map(|rules| ("RULES", rules.to_owned())));
    Ok(Guard { variables, token: Some(token(LIST)?) })
}

async fn load(site: &Site, kind: Kind, mut clients: Vec<Client>, watch: Watch) -> Result<Load> {
    match kind {
        Kind::Push => push_load(site, PUSHED_OPERATIONS, CONNECTIONS, watch).await,
        Kind::Pull => {
            let mut readers: Vec<(Client, String)> =
                clients.into_iter().map(|client| (client, "null".to_owned())).collect();
            drive(&mut readers, watch, async |(client, cursor)| {
                let body = format!(r#"{{"cursor":{cursor},"as":"documents","limit":{PULLED_DOCUMENTS}}}"#);
                let page = client.pull(body, PULLED_DOCUMENTS).await?;
                *cursor = if page.has_more { format!("\"{}\"", page.cursor) } else { "null".to_owned() };
                Ok(Some(page.rows))
            })
            .await
        }
        Kind::Document => {
            let turn = Cell::new(0_u64);
            drive(&mut clients, watch, async |client| {
                turn.set(turn.get() + 7_919);
                let path = format!("/documents/{COLLECTION}/{}", document_name(turn.get() % site.work.documents));
                client.ok(Method::GET, &path, Bytes::new()).await?;
                Ok(Some(1))
            })
            .await
        }
        Kind::Query => {
            let path = format!("/documents/{COLLECTION}/query");
            drive(&mut clients, watch, async |client| {
                client.ok(Method::POST, &path, r#"{"limit":1}"#).await?;
                Ok(Some(site.work.documents))
            })
            .await
        }
    }
}

impl Bench<'_> {
    /// Pushes, pulls and documents: with tokens against without, and with rules against tokens alone.
    pub(super) async fn access(&mut self) -> Result<()> {
        let guards = [Guard::default(), guard(None)?, guard(Some(RULES))?];
        let mut sites = Vec::new();
        for guard in guards {
            let (documents, database) = (self.options.documents(), self.databases.make().await?);
            self.progress.set_message("rows");
            let work = Work::new(documents, true);
            let operations = documents * LOG_PER_DOCUMENT;
            sites.push(Site::start_guarded(&database, work, operations, guard, &self.progress).await?);
        }
        let [plain, tokens, rules] = &sites[..] else { return Err("there are three servers".into()) };
        for kind in Kind::COMPARED {
            self.begin(&kind.name(), u64::from(self.options.runs) * 3);
            let (mut of_plain, mut of_tokens, mut of_rules) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..self.options.runs {
                for (site, samples) in [(plain, &mut of_plain), (tokens, &mut of_tokens), (rules, &mut of_rules)] {
                    let clients = site.clients(CONNECTIONS).await?;
                    samples.push(self.measure(load(site, kind, clients, self.watch(Some(&site.server)))).await?);
                }
            }
            let mut add = |what: &str, samples: &[Sample], against: (&str, &[Sample]), most: f64| {
                let name = format!("{}, {what}", kind.name());
                self.add(name, samples, Some(against), Measure::Cpu, Some(Goal::AtMost(most)));
            };
            add("tokens", &of_tokens, ("neither", &of_plain), TOKENS_MAX_RATIO);
            add("tokens and rules", &of_rules, ("tokens", &of_tokens), RULES_MAX_RATIO);
        }
        // A reader without any of the documents, whose requests read them all the same.
        for kind in Kind::HIDDEN {
            let name = format!("{}, all documents hidden", kind.name());
            self.begin(&name, u64::from(self.options.runs));
            let mut samples = Vec::new();
            for _ in 0..self.options.runs {
                let mut clients = Vec::new();
                for _ in 0..CONNECTIONS {
                    clients.push(Client::connect(&rules.server.host, Some(&token("another")?)).await?);
                }
                samples.push(self.measure(load(rules, kind, clients, self.watch(Some(&rules.server)))).await?);
            }
            self.add(name, &samples, None, Measure::Cpu, None);
        }
        for site in &sites {
            self.note_peak(&site.server);
        }
        Ok(())
    }
}
