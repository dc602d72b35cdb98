//! The settings that say who may make requests, turned into principals.

#[cfg(feature = "sign-in")]
mod cache;
#[cfg(feature = "sign-in")]
mod fetch;
#[cfg(feature = "sign-in")]
mod fresh_file;
#[cfg(feature = "sign-in")]
mod key_cache;
pub(super) mod rates;
#[cfg(feature = "sign-in")]
mod sign_in;

use std::sync::Arc;

use self::rates::{AtRate, Rates};
use crate::api::{Api, Authenticate};
use crate::config::{AuthConfig, ConfigError};
use crate::core::access::{Principal, Role};
use crate::core::names::{Subject, TenantId};
use crate::service::{Host, SyncService};

/// The principal of every request to a server without authentication: the admin of the tenant `default`.
#[must_use]
pub fn anybody() -> Principal {
    Principal::new(TenantId::literal("default"), Subject::literal("anybody"), Role::Admin)
}

/// The source of principals by the settings. Cheap to clone.
#[derive(Clone)]
pub struct Access {
    authenticate: Option<Arc<dyn Authenticate>>,
    /// Reads the files of tokens again.
    reload: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Access {
    /// Reads the keys and tokens that the settings name.
    ///
    /// # Errors
    /// If they cannot be used, or if this build has no authentication. The error names the variable to check.
    pub fn open(config: &AuthConfig, host: Arc<dyn Host>) -> Result<Self, ConfigError> {
        match config {
            AuthConfig::Off { .. } => Ok(Self { authenticate: None, reload: None }),
            #[cfg(feature = "sign-in")]
            AuthConfig::On(tokens) => {
                let sign_in = Arc::new(sign_in::SignIn::open(tokens, host)?);
                let reloaded = Arc::clone(&sign_in);
                Ok(Self { authenticate: Some(sign_in), reload: Some(Arc::new(move || reloaded.reload())) })
            }
            #[cfg(not(feature = "sign-in"))]
            AuthConfig::On(_) => {
                drop(host);
                Err(ConfigError::new("AUTH", "this build has no authentication; build it with the feature sign-in"))
            }
        }
    }

    /// The same principals, each with a limit of requests per second.
    #[must_use]
    pub fn at_rate(self, per_second: Option<u32>) -> Self {
        let Self { authenticate, reload } = self;
        let authenticate = match (authenticate, per_second) {
            (Some(inner), Some(per_second)) => Some(Arc::new(AtRate { inner, rates: Rates::new(per_second) }) as _),
            (inner, _) => inner,
        };
        Self { authenticate, reload }
    }

    /// Reads the file of static tokens again, if there is one. If it cannot be used, the tokens stay as they were, and
    /// the problem is logged.
    pub fn reload(&self) {
        if let Some(reload) = &self.reload {
            reload();
        }
    }

    /// The routes over a service, for requests of these principals.
    pub fn routes(&self, service: Arc<SyncService>) -> Api {
        let api = Api::builder(service);
        match &self.authenticate {
            Some(authenticate) => api.authenticate_with(Arc::clone(authenticate)),
            None => api.fixed_principal(anybody()),
        }
    }
}
