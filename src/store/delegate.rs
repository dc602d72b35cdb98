//! Wrappers of stores: one helper passes on the calls that a wrapper does not change.

use std::pin::Pin;

use super::Result;

/// The result of an `async` method of [`Store`](super::Store), as `async_trait` writes it.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Implements methods of [`Store`](crate::store::Store) by handing each call on to another store.
///
/// It stands inside `impl Store for …`. First comes the store that is wrapped, in the syntax of a closure, and then the
/// methods that are handed on, or `all`:
///
/// ```
/// use std::sync::Arc;
///
/// use syncflow_server::core::decide::Batch;
/// use syncflow_server::core::names::TenantId;
/// use syncflow_server::store::{Commit, ErrorKind, Result, Store, StoreError, delegate_store};
///
/// /// A store that takes no pushes.
/// #[derive(Debug)]
/// struct Frozen(Arc<dyn Store>);
///
/// #[async_trait::async_trait]
/// impl Store for Frozen {
///     async fn commit(&self, _: &TenantId, _: Batch) -> Result<Commit> {
///         Err(StoreError::new(self.name(), "commit", ErrorKind::Unavailable, "no pushes for now"))
///     }
///
///     delegate_store!(|this| &*this.0; name, load, changes, note_pulled, changes_by_time, client, remember);
///     delegate_store!(|this| &*this.0; claim, document, query, stats, survey, clients, count_clients, compact);
///     delegate_store!(|this| &*this.0; audit, operation_ids, client_rows, learn, scrub, erase_tenant);
///     delegate_store!(|this| &*this.0; aged_place, expire, count_expired);
///     delegate_store!(|this| &*this.0; tenants, heads, watch, announce, check);
/// }
/// ```
///
/// With `around`, each of these calls except `name` and `watch` goes through an `async` function. It gets the wrapper,
/// the name of the method and the call, which runs when it is awaited:
///
/// ```
/// # use std::sync::Arc;
/// # use syncflow_server::store::{Result, Store, delegate_store};
/// #[derive(Debug)]
/// struct Logged(Arc<dyn Store>);
///
/// async fn log<T>(_: &Logged, method: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
///     let answer = call.await;
///     println!("{method}: {}", if answer.is_ok() { "done" } else { "failed" });
///     answer
/// }
///
/// impl Store for Logged {
///     delegate_store!(|this| &*this.0, around log; all);
/// }
/// ```
#[macro_export]
macro_rules! delegate_store {
    (|$this:ident| $inner:expr $(, around $hook:path)?; all) => {
        $crate::store::delegate_store!(
            |$this| $inner $(, around $hook)?;
            name, load, commit, changes, note_pulled, changes_by_time, client, remember, claim, document, query,
            stats, survey, clients, count_clients, compact, aged_place, expire, count_expired, tenants, heads, audit,
            operation_ids, client_rows, learn, scrub, erase_tenant, watch, announce, check
        );
    };
    (|$this:ident| $inner:expr; $($method:ident),+ $(,)?) => {
        $($crate::store::delegate_store!(@$method |$this| $inner, []);)+
    };
    (|$this:ident| $inner:expr, around $hook:path; $($method:ident),+ $(,)?) => {
        $($crate::store::delegate_store!(@$method |$this| $inner, [$hook]);)+
    };

    (@name |$this:ident| $inner:expr, $hook:tt) => {
        fn name(&self) -> &'static str {
            let $this = self;
            $crate::store::Store::name($inner)
        }
    };
    (@load $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, load['a](
            tenant: &'a $crate::core::names::TenantId, request: $crate::store::LoadRequest
        ) -> $crate::core::decide::Snapshot);
    };
    (@commit $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, commit['a](
            tenant: &'a $crate::core::names::TenantId, batch: $crate::core::decide::Batch
        ) -> $crate::store::Commit);
    };
    (@changes $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, changes['a](
            tenant: &'a $crate::core::names::TenantId, request: $crate::store::ChangesRequest
        ) -> $crate::store::Changes);
    };
    (@note_pulled $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, note_pulled['a, 'b](
            tenant: &'a $crate::core::names::TenantId, client: &'b $crate::core::names::ClientId,
            progress: $crate::core::progress::Progress
        ) -> ());
    };
    (@changes_by_time $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, changes_by_time['a](
            tenant: &'a $crate::core::names::TenantId, request: $crate::store::TimeRequest
        ) -> $crate::core::page::TimePage);
    };
    (@client $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, client['a, 'b](
            tenant: &'a $crate::core::names::TenantId, client: &'b $crate::core::names::ClientId
        ) -> ::std::option::Option<$crate::store::ClientMemory>);
    };
    (@remember $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, remember['a, 'b](
            tenant: &'a $crate::core::names::TenantId, client: &'b $crate::core::names::ClientId,
            memory: $crate::store::NewMemory
        ) -> $crate::store::Remember);
    };
    (@claim $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, claim['a, 'b, 'c](
            tenant: &'a $crate::core::names::TenantId, client: &'b $crate::core::names::ClientId,
            subject: &'c $crate::core::names::Subject
        ) -> ());
    };
    (@document $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, document['a, 'b](
            tenant: &'a $crate::core::names::TenantId, key: &'b $crate::core::names::DocumentKey
        ) -> ::std::option::Option<$crate::core::document::LiveDocument>);
    };
    (@query $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, query['a](
            tenant: &'a $crate::core::names::TenantId, query: $crate::store::Query
        ) -> $crate::store::QueryPage);
    };
    (@stats $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, stats['a](
            tenant: &'a $crate::core::names::TenantId,
            active_ms: ::std::ops::RangeInclusive<$crate::core::numbers::UnixMs>
        ) -> $crate::store::Stats);
    };
    (@clients $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, clients['a, 'b](
            tenant: &'a $crate::core::names::TenantId,
            after: ::std::option::Option<&'b $crate::core::names::ClientId>, limit: usize
        ) -> ::std::vec::Vec<$crate::store::ClientProgress>);
    };
    (@survey $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, survey['a](
            tenant: &'a $crate::core::names::TenantId, request: $crate::store::SurveyRequest
        ) -> $crate::store::Survey);
    };
    (@count_clients $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, count_clients['a](
            tenant: &'a $crate::core::names::TenantId, max_clients: u64
        ) -> $crate::store::ClientCounts);
    };
    (@compact $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, compact['a](
            tenant: &'a $crate::core::names::TenantId, step: $crate::store::CompactStep
        ) -> $crate::store::Compaction);
    };
    (@aged_place $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, aged_place['a](
            tenant: &'a $crate::core::names::TenantId, received_until_ms: $crate::core::numbers::UnixMs,
            up_to: $crate::core::numbers::Seq
        ) -> ::std::option::Option<$crate::core::cursor::Position>);
    };
    (@expire $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, expire['a](
            tenant: &'a $crate::core::names::TenantId, step: $crate::store::ExpireStep
        ) -> $crate::store::Expired);
    };
    (@count_expired $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, count_expired['a](
            tenant: &'a $crate::core::names::TenantId, expiry: $crate::core::retention::Expiry
        ) -> $crate::store::Expired);
    };
    (@tenants $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, tenants['a](
            after: ::std::option::Option<&'a $crate::core::names::TenantId>, limit: usize
        ) -> ::std::vec::Vec<$crate::core::names::TenantId>);
    };
    (@heads $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, heads['a](
            tenants: &'a [$crate::core::names::TenantId]
        ) -> ::std::vec::Vec<$crate::core::cursor::Position>);
    };
    (@audit $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, audit['a](
            tenant: &'a $crate::core::names::TenantId, after: $crate::core::numbers::Seq, max_entries: usize
        ) -> $crate::store::Audit);
    };
    (@operation_ids $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, operation_ids['a, 'b](
            tenant: &'a $crate::core::names::TenantId,
            after: ::std::option::Option<&'b $crate::core::names::OperationId>, limit: usize
        ) -> ::std::vec::Vec<$crate::core::names::OperationId>);
    };
    (@client_rows $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, client_rows['a, 'b](
            tenant: &'a $crate::core::names::TenantId,
            after: ::std::option::Option<&'b $crate::core::names::ClientId>, limit: usize
        ) -> ::std::vec::Vec<$crate::store::ClientRow>);
    };
    (@learn $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, learn['a](
            tenant: &'a $crate::core::names::TenantId, lesson: $crate::store::Lesson
        ) -> ());
    };
    (@scrub $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, scrub['a](
            tenant: &'a $crate::core::names::TenantId, step: $crate::store::ScrubStep
        ) -> u64);
    };
    (@erase_tenant $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, erase_tenant['a](
            tenant: &'a $crate::core::names::TenantId, max_rows: usize
        ) -> $crate::store::Erased);
    };
    (@watch |$this:ident| $inner:expr, $hook:tt) => {
        fn watch(&self) -> $crate::store::Watch<'_> {
            let $this = self;
            $crate::store::Store::watch($inner)
        }
    };
    (@announce $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, announce['a](
            tenants: &'a [$crate::core::names::TenantId]
        ) -> ());
    };
    (@check $($wrapper:tt)*) => {
        $crate::store::delegate_store!(@method $($wrapper)*, check[]() -> ());
    };

    (@method
        |$this:ident| $inner:expr, $hook:tt,
        $method:ident[$($of:lifetime),*]($($argument:ident: $type:ty),*) -> $answer:ty
    ) => {
        fn $method<'s, $($of,)* 'f>(&'s self $(, $argument: $type)*) -> $crate::store::StoreFuture<'f, $answer>
        where
            's: 'f,
            $($of: 'f,)*
            Self: 'f,
        {
            let $this = self;
            let inner = $inner;
            $crate::store::delegate_store!(
                @through $hook, $this, $method, $crate::store::Store::$method(inner $(, $argument)*)
            )
        }
    };
    (@through [], $this:ident, $method:ident, $call:expr) => {
        $call
    };
    (@through [$hook:path], $this:ident, $method:ident, $call:expr) => {
        ::std::boxed::Box::pin($hook($this, ::std::stringify!($method), $call))
    };
}

pub use delegate_store;
