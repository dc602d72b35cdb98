//! The layer that counts the memory of every request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::stream::try_unfold;
use http::{Method, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::answer::{AnswerMemory, Reserved};
use super::{Account, Memory, NoRoom};
use crate::api;
use crate::api::access::{OnTenant, TenantNotice};
use crate::api::body::BodyOwner;
use crate::core::names::TenantId;

/// Counts the memory of a request and its answer. A request without room is answered with 503.
pub(in crate::runtime) async fn within_memory(
    State(memory): State<Arc<Memory>>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/health" {
        return next.run(request).await;
    }
    let cut = request.extensions().get().cloned();
    let Ok(account) = memory.open(cut, Reserved::of(&request)).await else { return refused() };
    request.extensions_mut().insert(Arc::clone(&account));
    request.extensions_mut().insert(BodyOwner::new(Arc::clone(&account) as _));
    // Only the routes of POST read a body.
    let has_body = request.method() == Method::POST && !request.body().is_end_stream();
    if !has_body {
        account.stop_waiting_for_client();
    }
    request.extensions_mut().insert(TenantNotice::new(Arc::new(Known { account: Arc::clone(&account), has_body })));
    let request = if has_body {
        let account = Arc::clone(&account);
        request.map(|body| counted(body, account))
    } else {
        request
    };
    let mut response = next.run(request).await;
    if account.is_short() {
        let is_said = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        return if is_said { response } else { refused() };
    }
    let memory = AnswerMemory::take(&mut response);
    if account.begin_answer(memory).await.is_err() {
        return refused();
    }
    response.map(|body| Body::new(Sending { body, account: Some(account) }))
}

/// Waits until the tenant of a request is known. Without a body, the work begins then.
#[derive(Debug)]
struct Known {
    account: Arc<Account>,
    has_body: bool,
}

#[async_trait]
impl OnTenant for Known {
    async fn tenant_is(&self, tenant: &TenantId) -> Result<(), String> {
        let is_first = self.account.tenant.set(tenant.clone()).is_ok();
        if is_first && !self.has_body {
            self.account.begin_work().await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn refused() -> Response {
    api::unavailable(NoRoom.to_string())
}

/// The same body, which is counted while it arrives. At its end the work begins.
fn counted(body: Body, account: Arc<Account>) -> Body {
    Body::from_stream(try_unfold((body, account), async |(mut body, account): (Body, Arc<Account>)| {
        loop {
            let Some(frame) = body.frame().await else {
                account.begin_work().await.map_err(axum::Error::new)?;
                return Ok::<_, axum::Error>(None);
            };
            if let Ok(data) = frame?.into_data() {
                account.take(data.len()).await.map_err(axum::Error::new)?;
                return Ok(Some((data, (body, account))));
            }
        }
    }))
}

/// An answer that is being sent.
struct Sending {
    body: Body,
    account: Option<Arc<Account>>,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        if !self.body.is_end_stream() {
            return Poll::Ready(Some(Ok(frame)));
        }
        // The connection may keep the last piece long after it has taken it.
        let account = self.account.take();
        Poll::Ready(Some(Ok(frame.map_data(|bytes| Bytes::from_owner(LastPiece { bytes, _account: account })))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The last piece of an answer, which is counted until it is sent.
struct LastPiece {
    bytes: Bytes,
    _account: Option<Arc<Account>>,
}

impl AsRef<[u8]> for LastPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
