//! The settings about sign-in: which requests are accepted, and which tokens.

pub(super) mod conflicts;
pub(super) mod rules;

use std::path::PathBuf;

use super::secret::{Secret, file};
use super::variables::{ConfigError, Variables, wrong};
use crate::core::names::TenantId;
use crate::limits::auth::JWKS_MAX_BYTES;
use crate::limits::config::SECRET_FILE_MAX_BYTES;

/// Whether requests need a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthConfig {
    /// Every request is made by the admin of the tenant `default`.
    Off {
        /// Whether `AUTH=off` is set. If it is false, no setting about sign-in is set at all.
        is_said: bool,
    },
    /// Requests need a token.
    On(TokenConfig),
}

/// The accepted tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenConfig {
    /// The settings of JSON Web Tokens, if they are accepted.
    pub jwt: Option<JwtConfig>,
    /// The file with the hashes of static tokens, if they are accepted.
    pub tokens_file: Option<PathBuf>,
}

/// The accepted JSON Web Tokens, and the claims that are read from them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtConfig {
    /// The keys that sign them.
    pub keys: KeyConfig,
    /// The required value of `iss`.
    pub issuer: Option<String>,
    /// The required value of `aud`, or one of its values.
    pub audience: Option<String>,
    /// The source of the tenant.
    pub tenant: TenantConfig,
    /// The path of the claim with the role.
    pub role_claim: String,
}

/// The keys that sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyConfig {
    /// A secret that the server shares with the programs that make tokens.
    Secret(Secret),
    /// The text of a provider's set of keys.
    Set(Secret),
    /// The file with such a set, which may change.
    File(PathBuf),
    /// The URL at which a provider publishes its set of keys.
    Url(String),
}

/// The source of the tenant of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantConfig {
    /// The same tenant for every token.
    Fixed(TenantId),
    /// The claim at a path.
    Claim(String),
}

impl AuthConfig {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let keys = KeyConfig::read(variables)?;
        let tokens_file = variables.get("AUTH_TOKENS_FILE").map(PathBuf::from);
        let is_off = match variables.get("AUTH").as_deref() {
            None => false,
            Some("off") => true,
            Some(other) => return Err(wrong("AUTH", "must be off, or not set if tokens are set up", other)),
        };
        let first = match (&keys, &tokens_file) {
            (Some((variable, _)), _) => Some(*variable),
            (None, Some(_)) => Some("AUTH_TOKENS_FILE"),
            (None, None) => None,
        };
        if is_off && let Some(variable) = first {
            return Err(ConfigError::new("AUTH", format_args!("cannot be off beside {variable}")));
        }
        let role_claim = variables.get_or("AUTH_ROLE_CLAIM", ROLE_CLAIM);
        let jwt = match keys {
            Some((_, keys)) => Some(JwtConfig::read(variables, keys, role_claim)?),
            None => {
                // The template always sets the claim of the role, usually to its default.
                let is_default = |variable: &str, value: &str| variable == "AUTH_ROLE_CLAIM" && value == ROLE_CLAIM;
                let is_set =
                    |variable: &&str| variables.get(variable).is_some_and(|value| !is_default(variable, &value));
                if let Some(variable) = OF_KEYS.into_iter().find(is_set) {
                    let problem = "is of no use without AUTH_HS256_SECRET, AUTH_JWKS or AUTH_JWKS_URL";
                    return Err(ConfigError::new(variable, problem));
                }
                None
            }
        };
        Ok(match first {
            Some(_) => Self::On(TokenConfig { jwt, tokens_file }),
            None => Self::Off { is_said: is_off },
        })
    }

    /// Refuses to serve all requests without sign-in if other machines can reach the server, unless the settings say
    /// so.
    ///
    /// # Errors
    /// If the settings do not say who may make requests.
    pub fn refuse_everybody(&self, is_reachable: bool) -> Result<(), ConfigError> {
        match self {
            Self::Off { is_said: false } if is_reachable => Err(ConfigError::new(
                "AUTH",
                "nothing says who may make requests; set AUTH_HS256_SECRET, AUTH_JWKS_URL or AUTH_TOKENS_FILE, or \
                 AUTH=off to let everybody read and write",
            )),
            _ => Ok(()),
        }
    }
}

/// The claim with the role, if no setting says otherwise.
const ROLE_CLAIM: &str = "role";

/// The settings that have a meaning only with keys for JSON Web Tokens.
const OF_KEYS: [&str; 5] = ["AUTH_AUDIENCE", "AUTH_ISSUER", "AUTH_ROLE_CLAIM", "AUTH_TENANT", "AUTH_TENANT_CLAIM"];

impl KeyConfig {
    /// The keys, and the variable that contains them or names their file.
    fn read(variables: &Variables<'_>) -> Result<Option<(&'static str, Self)>, ConfigError> {
        let all = ["AUTH_HS256_SECRET", "AUTH_HS256_SECRET_FILE", "AUTH_JWKS", "AUTH_JWKS_FILE", "AUTH_JWKS_URL"];
        let mut set = all.into_iter().filter_map(|variable| Some((variable, variables.get(variable)?)));
        let Some((variable, value)) = set.next() else { return Ok(None) };
        if let Some((other, _)) = set.next() {
            return Err(ConfigError::new(other, format_args!("cannot be set beside {variable}")));
        }
        let keys = match variable {
            "AUTH_HS256_SECRET" => Self::Secret(Secret::new(variable, value)),
            "AUTH_HS256_SECRET_FILE" => Self::Secret(Secret::new(variable, file::read(variable, &value)?)),
            "AUTH_JWKS" => Self::Set(Secret::new(variable, value)),
            "AUTH_JWKS_URL" => Self::Url(value),
            _ => {
                const { assert!(JWKS_MAX_BYTES <= SECRET_FILE_MAX_BYTES, "a set of keys fits the file") };
                // A server reads the file again, but a mistake is named beside those of the other settings.
                file::read_lines(variable, &value)?;
                Self::File(value.into())
            }
        };
        Ok(Some((variable, keys)))
    }
}

impl JwtConfig {
    fn read(variables: &Variables<'_>, keys: KeyConfig, role_claim: String) -> Result<Self, ConfigError> {
        let (issuer, audience) = (variables.get("AUTH_ISSUER"), variables.get("AUTH_AUDIENCE"));
        let provider = match &keys {
            KeyConfig::Secret(_) => None,
            KeyConfig::Set(set) => set.variable(),
            KeyConfig::File(_) => Some("AUTH_JWKS_FILE"),
            KeyConfig::Url(_) => Some("AUTH_JWKS_URL"),
        };
        if let Some(beside) = provider {
            for (variable, value) in [("AUTH_ISSUER", &issuer), ("AUTH_AUDIENCE", &audience)] {
                if value.is_none() {
                    let problem =
                        format_args!("must be set beside {beside}, since a provider signs tokens for others too");
                    return Err(ConfigError::new(variable, problem));
                }
            }
        }
        let tenant = match (variables.get("AUTH_TENANT"), variables.get("AUTH_TENANT_CLAIM")) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::new("AUTH_TENANT_CLAIM", "cannot be set beside AUTH_TENANT"));
            }
            (Some(name), None) => {
                let tenant = TenantId::parse(&name).map_err(|problem| ConfigError::new("AUTH_TENANT", problem))?;
                if tenant.is_reserved() {
                    return Err(ConfigError::new("AUTH_TENANT", "is reserved for the server"));
                }
                TenantConfig::Fixed(tenant)
            }
            (None, Some(path)) => TenantConfig::Claim(path),
            (None, None) => {
                let problem = "must name the claim with the tenant, such as sub for a tenant for each user; or AUTH_TENANT \
                               the one tenant of all";
                return Err(ConfigError::new("AUTH_TENANT_CLAIM", problem));
            }
        };
        Ok(Self { keys, issuer, audience, tenant, role_claim })
    }
}
