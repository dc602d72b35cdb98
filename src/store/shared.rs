//! An `Arc` of a store is a store.

use std::sync::Arc;

use super::{Store, delegate_store};

impl<S: Store + ?Sized> Store for Arc<S> {
    delegate_store!(|this| &**this; all);
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_shared_store_answers_as_the_store_in_it() {
        let shared: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let twice: Arc<dyn Store> = Arc::new(Arc::clone(&shared));
        assert_eq!(twice.name(), "memory");
        assert_eq!(twice.tenants(None, 5).now_or_never().unwrap().unwrap(), Vec::new());
    }
}
