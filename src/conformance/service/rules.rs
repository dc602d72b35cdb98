//! Rules: each principal sees and changes the documents that it may, and nothing of the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::json;

use super::super::draft::{Draft, delete, insert, key, update};
use super::super::world::{World, operations, query_of};
use crate::core::access::rules::{CollectionRules, Holder, LabelSource, Rules};
use crate::core::access::{Claims, Principal, Role};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::Outcome;
use crate::core::names::{Collection, DocumentKey, Subject};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::Change;
use crate::service::operator::Operator;
use crate::service::{Host, PullFrom, PullRequest, Pulled, PulledPage, PushRequest, SyncService, Write, Written};
use crate::store::Query;

/// Documents of the collection `todos` belong to a list, and everybody who has the list may do everything with them.
/// Everybody sees the collection `news`, which only admins write.
fn rules() -> Rules {
    let list = || vec![Holder::Label("list".to_owned())];
    let todos = CollectionRules { read: list(), write: list(), create: list() };
    let admins = || vec![Holder::Role(Role::Admin)];
    let news = CollectionRules { read: vec![Holder::Everyone], write: admins(), create: admins() };
    let labels = BTreeMap::from([("list".to_owned(), LabelSource::new("list", "lists").expect("two paths"))]);
    let collections = BTreeMap::from([(Collection::literal("todos"), todos), (Collection::literal("news"), news)]);
    Rules::new(labels, collections, CollectionRules::default()).expect("all names exist")
}

/// The same store with a service that has these rules.
fn with_rules(world: &World, rules: Rules) -> World {
    let host = Arc::clone(&world.host) as Arc<dyn Host>;
    let service = SyncService::new(Arc::clone(&world.store), host).with_rules(rules);
    World { service: Arc::new(service), ..world.clone() }
}

fn principal(world: &World, subject: &str, lists: &[&str]) -> Principal {
    let claims = Claims::new([("lists".to_owned(), json!(lists))]);
    Principal::new(world.tenant.clone(), Subject::literal(subject), Role::Writer).with_claims(claims)
}

async fn push(world: &World, by: &Principal, drafts: impl IntoIterator<Item = Draft>) -> Vec<Outcome> {
    // Client ids belong to subjects.
    let drafts = drafts.into_iter().map(|draft| draft.client(by.subject.as_str()));
    let pushed = world.service.push_as(by, PushRequest::new(operations(drafts))).await;
    pushed.expect("the push is answered").outcomes().expect("the push is not refused")
}

/// A document of a list. Its data have a word that is searched for in everything that other readers receive.
fn in_list(draft: Draft, list: &str) -> Draft {
    draft.data(&format!(r#"{{"list":"{list}","secret":"secret-of-{list}"}}"#))
}

/// A device of a principal, which holds what it was sent.
struct Device {
    principal: Principal,
    cursor: Option<Cursor>,
    view: Option<u64>,
    documents: BTreeMap<DocumentKey, String>,
    /// Everything that it was ever sent.
    received: String,
}

impl Device {
    fn of(principal: Principal) -> Self {
        Self { principal, cursor: None, view: None, documents: BTreeMap::new(), received: String::new() }
    }

    async fn page(&self, world: &World, max_operations: usize) -> Pulled {
        let from = PullFrom::Documents { after: self.cursor, collections: None };
        let request = PullRequest::new(from).with_view(self.view).with_max_operations(max_operations);
        world.service.pull_as(&self.principal, request).await.expect("the pull is answered")
    }

    fn take(&mut self, page: PulledPage) -> bool {
        for entry in page.entries {
            write!(self.received, "{entry:?}").expect("a text takes everything");
            match entry.change {
                Change::Insert(data) => drop(self.documents.insert(entry.key, data.as_str().to_owned())),
                Change::Delete => drop(self.documents.remove(&entry.key)),
                Change::Update(_) => panic!("a reader with restrictions receives whole documents"),
            }
        }
        (self.cursor, self.view) = (page.cursor, page.view);
        page.has_more
    }

    /// Pulls until there is no more, in pages of two. Returns the ids of its documents.
    async fn sync(&mut self, world: &World) -> Vec<&str> {
        loop {
            match self.page(world, 2).await {
                Pulled::Page(page) => {
                    if !self.take(page) {
                        break;
                    }
                }
                other => panic!("the cursor is refused: {other:?}"),
            }
        }
        self.documents.keys().map(|key| key.id.as_str()).collect()
    }
}

/// A page has what the reader may see, also if all documents before are hidden from it.
pub async fn a_reader_gets_exactly_the_documents_that_it_may_see(world: &World) {
    let world = with_rules(world, rules());
    let (ann, bob) = (principal(&world, "ann", &["a", "shared"]), principal(&world, "bob", &["b", "shared"]));
    for number in 0..7 {
        let hidden = in_list(insert(&format!("op-b{number}"), &format!("doc-b{number}")), "b");
        assert_eq!(push(&world, &bob, [hidden]).await, [Outcome::Applied]);
    }
    assert_eq!(push(&world, &ann, [in_list(insert("op-1", "doc-a"), "a")]).await, [Outcome::Applied]);
    assert_eq!(push(&world, &ann, [in_list(insert("op-2", "doc-shared"), "shared")]).await, [Outcome::Applied]);
    let admin = Principal { role: Role::Admin, ..principal(&world, "root", &[]) };
    let news = insert("op-3", "news-1").in_collection("news");
    assert_eq!(push(&world, &admin, [news]).await, [Outcome::Applied]);

    let mut device = Device::of(ann.clone());
    assert_eq!(device.sync(&world).await, ["news-1", "doc-a", "doc-shared"]);
    assert!(!device.received.contains("secret-of-b") && !device.received.contains("doc-b1"), "{}", device.received);
    assert_eq!(Device::of(admin).sync(&world).await, ["news-1"], "an admin has no list");
    let service = Principal { role: Role::Service, ..principal(&world, "job", &[]) };
    assert_eq!(Device::of(service).sync(&world).await.len(), 10);
    for max_documents in [1, 9] {
        let (mut before_seq, mut found) = (None, Vec::new());
        loop {
            let query = Query { max_documents, before_seq, ..query_of("todos", &[]) };
            let page = world.service.query_as(&ann, query).await.expect("the query is answered");
            found.extend(page.documents.into_iter().map(|document| document.key.id.to_string()));
            before_seq = page.more_before;
            if before_seq.is_none() {
                break;
            }
        }
        assert_eq!(found, ["doc-shared", "doc-a"], "pages of {max_documents}");
    }
    for (id, is_there) in [("doc-a", true), ("doc-shared", true), ("doc-b1", false), ("doc-x", false)] {
        let document = world.service.document_as(&ann, &key(id)).await.expect("the document is read");
        assert_eq!(document.is_some(), is_there, "{id}");
    }
}

/// A document that is moved out of a list is removed from the devices of the list, whatever happens to it later.
pub async fn a_document_that_leaves_a_list_leaves_its_devices(world: &World) {
    let world = with_rules(world, rules());
    let owner = principal(&world, "ann", &["a", "b"]);
    let (mut of_a, mut of_b) =
        (Device::of(principal(&world, "al", &["a"])), Device::of(principal(&world, "bo", &["b"])));
    let applied = [Outcome::Applied];
    assert_eq!(push(&world, &owner, [in_list(insert("op-1", "doc"), "a")]).await, applied);
    assert_eq!((of_a.sync(&world).await, of_b.sync(&world).await), (vec!["doc"], vec![]));
    assert_eq!(push(&world, &owner, [in_list(update("op-2", "doc"), "b")]).await, applied);
    let mut late = Device { documents: of_a.documents.clone(), ..Device::of(of_a.principal.clone()) };
    (late.cursor, late.view) = (of_a.cursor, of_a.view);
    assert_eq!((of_a.sync(&world).await, of_b.sync(&world).await), (vec![], vec!["doc"]));
    assert!(!of_a.received.contains("secret-of-b"));
    let removal = of_a.received.rsplit("LogEntry").next().unwrap_or_default();
    assert!(removal.contains("Delete") && !removal.contains("op-2"), "nothing of the operation is told: {removal}");

    assert_eq!(push(&world, &owner, [delete("op-3", "doc")]).await, applied);
    assert_eq!((late.sync(&world).await, of_b.sync(&world).await), (vec![], vec![]), "behind a deletion");
    assert!(!late.received.contains("op-3"), "the tombstone is not of its list");
    assert!(of_b.received.contains("op-3"), "the list that had the document gets the tombstone");
    assert_eq!(push(&world, &owner, [in_list(insert("op-4", "doc"), "a")]).await, applied);
    assert_eq!((of_a.sync(&world).await, of_b.sync(&world).await), (vec!["doc"], vec![]));
    assert_eq!(Device::of(of_b.principal.clone()).sync(&world).await, Vec::<&str>::new());
    let mut began_later = Device::of(of_b.principal);
    began_later.sync(&world).await;
    assert!(!began_later.received.contains("doc"), "it never had the document: {}", began_later.received);
}

/// A reader learns of no document that it never could see, whatever place it makes up.
pub async fn a_place_that_a_reader_has_made_up_is_refused(world: &World) {
    let world = with_rules(world, rules());
    let owner = principal(&world, "ann", &["a", "b"]);
    assert_eq!(push(&world, &owner, [in_list(insert("op-1", "gone"), "a")]).await, [Outcome::Applied]);
    assert_eq!(push(&world, &owner, [in_list(update("op-2", "gone"), "b")]).await, [Outcome::Applied]);
    assert_eq!(push(&world, &owner, [in_list(insert("op-3", "here"), "a")]).await, [Outcome::Applied]);
    // It has the list only since the document left it.
    let mut late = Device::of(principal(&world, "bob", &["a"]));
    assert_eq!(late.sync(&world).await, ["here"]);
    let Some(Cursor::Log(place)) = late.cursor else { panic!("it has everything: {:?}", late.cursor) };
    for made_up in [
        Cursor::BEGINNING,
        Cursor::State { after: Position::START, tombstones_after: Seq::START },
        Cursor::State { after: place, tombstones_after: Seq::START },
    ] {
        for view in [late.view, late.view.map(|view| view ^ 1), None] {
            let forged = Device { cursor: Some(made_up), view, ..Device::of(late.principal.clone()) };
            assert_eq!(forged.page(&world, 9).await, Pulled::OtherView, "{made_up:?}");
        }
    }
    assert_eq!(late.sync(&world).await, ["here"]);
    assert!(!late.received.contains("gone"), "{}", late.received);
}

/// A device that was in sync after a document had left its lists learns nothing of it, whatever happens to it.
pub async fn a_removal_is_for_devices_that_may_have_the_document(world: &World) {
    let world = with_rules(world, rules());
    let owner = principal(&world, "ann", &["a", "b", "c"]);
    let applied = [Outcome::Applied];
    let new_device = || Device::of(principal(&world, "al", &["a"]));
    let (mut early, mut never) = (new_device(), new_device());
    never.sync(&world).await;
    assert_eq!(push(&world, &owner, [in_list(insert("op-1", "doc"), "a")]).await, applied);
    assert_eq!(early.sync(&world).await, ["doc"]);
    // It leaves the list in the middle of a push, and is moved and changed again by others.
    let moves = [in_list(update("op-2", "doc"), "b"), in_list(update("op-3", "doc"), "c")];
    assert_eq!(push(&world, &owner, moves).await, [Outcome::Applied, Outcome::Applied]);
    let mut late = new_device();
    assert_eq!(late.sync(&world).await, Vec::<&str>::new());
    assert_eq!(early.sync(&world).await, Vec::<&str>::new());
    let received = early.received.len();
    for number in 4..7 {
        let again = in_list(update(&format!("op-{number}"), "doc"), if number == 5 { "b" } else { "c" });
        assert_eq!(push(&world, &owner, [again]).await, applied);
        assert_eq!((late.sync(&world).await, early.sync(&world).await), (vec![], vec![]));
    }
    assert_eq!(push(&world, &owner, [delete("op-7", "doc")]).await, applied);
    assert_eq!((late.sync(&world).await, early.sync(&world).await), (vec![], vec![]));
    assert!(late.received.is_empty(), "it never had the document: {}", late.received);
    assert_eq!(early.received.len(), received, "it has removed the document already: {}", early.received);
    assert_eq!(never.sync(&world).await, Vec::<&str>::new());
    assert!(never.received.contains("doc"), "it was in sync before, so it might have the document");
}

/// An operation that its author may not do changes nothing. Its neighbours are decided as always.
pub async fn a_forbidden_operation_changes_nothing_and_holds_up_no_other(world: &World) {
    let world = with_rules(world, rules());
    let (ann, bob) = (principal(&world, "ann", &["a"]), principal(&world, "bob", &["b"]));
    let created = [in_list(insert("op-1", "doc-b"), "b"), in_list(insert("op-2", "gone-b"), "b")];
    assert_eq!(push(&world, &bob, created).await, [Outcome::Applied, Outcome::Applied]);
    assert_eq!(push(&world, &bob, [delete("op-3", "gone-b")]).await, [Outcome::Applied]);
    let before = world.log().await;
    let forbidden = [
        in_list(insert("op-4", "new"), "b"),
        insert("op-5", "of-no-list"),
        in_list(update("op-6", "doc-b"), "a"),
        delete("op-7", "doc-b"),
        in_list(insert("op-8", "gone-b"), "a"),
        delete("op-9", "never"),
        in_list(insert("op-10", "x"), "a").in_collection("news"),
        in_list(insert("op-11", "x"), "a").in_collection("unknown"),
    ];
    let outcomes = push(&world, &ann, forbidden).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Forbidden(None)), "{outcomes:?}");
    assert_eq!(world.log().await, before);

    let admin = Principal { role: Role::Admin, ..principal(&world, "root", &[]) };
    let gone = [insert("op-12", "old").in_collection("news"), delete("op-13", "old").in_collection("news")];
    assert_eq!(push(&world, &admin, gone).await, [Outcome::Applied, Outcome::Applied]);
    let again = push(&world, &ann, [delete("op-14", "old").in_collection("news")]).await;
    assert!(matches!(&again[..], [Outcome::Forbidden(Some(tombstone))] if tombstone.is_deleted()), "{again:?}");
    let before = world.log().await;

    let mixed = [
        in_list(insert("op-20", "doc-a"), "a"),
        in_list(update("op-21", "doc-a"), "b"),
        in_list(insert("op-22", "doc-a2"), "a"),
        delete("op-23", "doc-b"),
        in_list(update("op-24", "doc-a"), "a"),
    ];
    let outcomes = push(&world, &ann, mixed).await;
    assert!(
        matches!(
            &outcomes[..],
            [
                Outcome::Applied,
                Outcome::Forbidden(Some(shown)),
                Outcome::Applied,
                Outcome::Forbidden(None),
                Outcome::Applied
            ] if shown.data.as_ref().is_some_and(|data| data.as_str().contains("secret-of-a"))
        ),
        "{outcomes:?}"
    );
    assert_eq!(world.log().await.len(), before.len() + 3);
}

/// Neither a conflict nor a forbidden operation shows a document that its author may not see.
pub async fn a_conflict_with_a_hidden_document_shows_nothing_of_it(world: &World) {
    let world = with_rules(world, rules());
    let (ann, bob) = (principal(&world, "ann", &["a"]), principal(&world, "bob", &["b"]));
    let theirs = in_list(insert("op-1", "doc"), "b").clock(&[("bob", 5)]);
    assert_eq!(push(&world, &bob, [theirs]).await, [Outcome::Applied]);
    for clock in [&[("ann", 1)][..], &[("ann", 1), ("bob", 9)], &[("bob", 1)]] {
        let mine = in_list(insert("op-2", "doc"), "a").clock(clock);
        assert_eq!(push(&world, &ann, [mine]).await, [Outcome::Forbidden(None)]);
    }
    let own = in_list(insert("op-3", "mine"), "a").clock(&[("ann", 2)]);
    assert_eq!(push(&world, &ann, [own]).await, [Outcome::Applied]);
    let stale = in_list(update("op-4", "mine"), "a").clock(&[("other", 1)]);
    assert!(matches!(&push(&world, &ann, [stale]).await[..], [Outcome::Conflict(_)]), "a conflict is as ever");
}

/// Pushes that share a commit are each decided by the rights of their own author.
pub async fn pushes_of_two_principals_that_share_a_commit_have_their_own_rights(world: &World) {
    let world = with_rules(world, rules());
    let (ann, bob) = (principal(&world, "ann", &["a"]), principal(&world, "bob", &["b"]));
    let pushes = (0..12).map(|number| {
        let (world, by) = (&world, if number % 2 == 0 { &ann } else { &bob });
        let draft =
            move |list: &str| in_list(insert(&format!("op-{list}{number}"), &format!("doc-{list}{number}")), list);
        async move { push(world, by, [draft("a"), draft("b")]).await }
    });
    for (number, outcomes) in join_all(pushes).await.into_iter().enumerate() {
        let expected = [Outcome::Applied, Outcome::Forbidden(None)];
        let expected = if number % 2 == 0 { expected } else { [Outcome::Forbidden(None), Outcome::Applied] };
        assert_eq!(outcomes, expected, "push {number}");
    }
}

/// A client whose grants change begins from nothing, so nothing that it may no longer see stays on its device.
pub async fn a_client_whose_grants_change_starts_again(world: &World) {
    let world = with_rules(world, rules());
    let ann = principal(&world, "ann", &["a", "b"]);
    let both = [in_list(insert("op-1", "doc-a"), "a"), in_list(insert("op-2", "doc-b"), "b")];
    assert_eq!(push(&world, &ann, both).await, [Outcome::Applied, Outcome::Applied]);
    let mut device = Device::of(ann);
    assert_eq!(device.sync(&world).await, ["doc-a", "doc-b"]);
    device.principal = principal(&world, "ann", &["a"]);
    assert_eq!(device.page(&world, 9).await, Pulled::OtherView);
    let everything = Device { cursor: device.cursor, ..Device::of(device.principal.clone()) };
    assert_eq!(everything.page(&world, 9).await, Pulled::OtherView, "a cursor from before there were rules");
    let mut again = Device::of(device.principal);
    assert_eq!(again.sync(&world).await, ["doc-a"]);
}

/// Only a client that sees every document reads the log, or pulls by the original protocol.
pub async fn the_log_is_for_those_who_see_everything(world: &World) {
    let world = with_rules(world, rules());
    let ann = principal(&world, "ann", &["a"]);
    assert_eq!(push(&world, &ann, [in_list(insert("op-1", "doc"), "a")]).await, [Outcome::Applied]);
    assert_eq!(push(&world, &ann, [in_list(update("op-2", "doc"), "a")]).await, [Outcome::Applied]);
    let pull = async |by: &Principal, from| {
        world.service.pull_as(by, PullRequest::new(from)).await.expect("the pull is answered")
    };
    assert_eq!(pull(&ann, PullFrom::Since(UnixMs::EPOCH)).await, Pulled::CursorNeeded);
    let Pulled::Page(page) = pull(&ann, PullFrom::Cursor(None)).await else { panic!("a page") };
    assert_eq!(page.entries.len(), 1, "documents, although operations are asked for");
    let service = Principal { role: Role::Service, ..ann };
    for from in [PullFrom::Since(UnixMs::EPOCH), PullFrom::Cursor(Some(Cursor::BEGINNING))] {
        let Pulled::Page(page) = pull(&service, from).await else { panic!("a page") };
        assert_eq!((page.entries.len(), page.view), (2, None));
    }
}

/// The server itself may do everything, and its writes move documents between lists as those of clients do.
pub async fn a_write_of_the_server_moves_a_document_between_lists(world: &World) {
    let world = with_rules(world, rules());
    let ann = principal(&world, "ann", &["a"]);
    assert_eq!(push(&world, &ann, [in_list(insert("op-1", "doc"), "a")]).await, [Outcome::Applied]);
    let mut device = Device::of(ann);
    assert_eq!(device.sync(&world).await, ["doc"]);
    let write = Write::patch(key("doc"), &json!({"list": "b"})).expect("an object");
    assert!(matches!(world.service.write(&world.tenant, &write).await, Ok(Written::Done(_))));
    assert_eq!(device.sync(&world).await, Vec::<&str>::new());
}

/// An import of a later state reaches the devices that have the former one, as a push does.
pub async fn a_later_import_takes_a_document_from_those_who_may_no_longer_see_it(world: &World) {
    let source = with_rules(world, rules());
    let copy = with_rules(&world.as_tenant("copy"), rules());
    source.apply([in_list(insert("op-1", "moved"), "a"), in_list(insert("op-2", "deleted"), "a")]).await;
    copy_documents(&source, &copy).await;
    let mut device = Device::of(principal(&copy, "ann", &["a"]));
    assert_eq!(device.sync(&copy).await, ["deleted", "moved"]);
    let later = [("a", 9)];
    let to_b = |id, document| in_list(update(id, document), "b").clock(&later);
    source.apply([to_b("op-3", "moved"), to_b("op-4", "deleted")]).await;
    source.apply([delete("op-5", "deleted").clock(&[("a", 10)])]).await;
    copy_documents(&source, &copy).await;
    assert_eq!(device.sync(&copy).await, [""; 0]);
    assert!(!device.received.contains("secret-of-b"), "{}", device.received);
}

/// Exports a tenant and imports it into another one.
async fn copy_documents(source: &World, copy: &World) {
    let mut export = Operator::new(Arc::clone(&source.service)).export(&source.tenant);
    let mut import = Operator::new(Arc::clone(&copy.service)).import(&copy.tenant, false);
    while let Some(lines) = export.next().await.expect("the store works") {
        for line in lines {
            import.line(&line).await.expect("the line is taken");
        }
    }
    import.finish().await.expect("it is imported");
}
