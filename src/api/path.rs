//! The names in a path: a collection, and a document in it.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use super::error::{ApiError, Faults};
use crate::core::names::{BadName, Collection, DocumentId, DocumentKey};

/// The `{collection}` of a path.
pub(super) struct InCollection(pub(super) Collection);

/// The `{collection}` and `{id}` of a path.
pub(super) struct AtDocument(pub(super) DocumentKey);

impl<S: Send + Sync> FromRequestParts<S> for InCollection {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = parameters(parts, state).await?;
        let mut faults = Faults::default();
        let collection = name(&parameters, "collection", Collection::parse, &mut faults);
        faults.into_result(collection).map(Self).map_err(ApiError::BadFields)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AtDocument {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = parameters(parts, state).await?;
        let mut faults = Faults::default();
        let collection = name(&parameters, "collection", Collection::parse, &mut faults);
        let id = name(&parameters, "id", DocumentId::parse, &mut faults);
        let key = collection.zip(id).map(|(collection, id)| DocumentKey { collection, id });
        faults.into_result(key).map(Self).map_err(ApiError::BadFields)
    }
}

/// The parameters of a path, decoded.
async fn parameters<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, ApiError> {
    if !has_whole_escapes(parts.uri.path()) {
        return Err(ApiError::bad_request("the path has a percent sign that two hexadecimal digits do not follow"));
    }
    let decoded = RawPathParams::from_request_parts(parts, state).await;
    decoded.map_err(|_| ApiError::bad_request("the path is not UTF-8 once its percent escapes are decoded"))
}

fn name<T>(
    parameters: &RawPathParams,
    parameter: &str,
    parse: fn(&str) -> Result<T, BadName>,
    faults: &mut Faults,
) -> Option<T> {
    let (_, text) = parameters.iter().find(|(name, _)| *name == parameter)?;
    parse(text).map_err(|problem| faults.add(parameter, problem)).ok()
}

fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_needs_two_digits() {
        for whole in ["", "/a", "/%2F", "/a%c3%A9b", "/%25zz"] {
            assert!(has_whole_escapes(whole), "{whole}");
        }
        for broken in ["/%", "/%2", "/%zz", "/%2F%", "/%2g", "/%é"] {
            assert!(!has_whole_escapes(broken), "{broken}");
        }
    }
}
