//! The survey of a tenant.

use mongodb::bson::doc;

use crate::core::names::TenantId;
use crate::store::integers::signed;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::{Row, entry_key};
use crate::store::{Survey, SurveyRequest};

/// See [`crate::store::Store::survey`].
pub(in crate::store::mongodb) async fn survey(
    database: &Database,
    tenant: &TenantId,
    request: &SurveyRequest,
) -> Result<Survey, Failure> {
    let collections = database.ready().await?;
    let find = collections.heads.find_one(doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() });
    let Some(head) = collections.in_time(find.max_time(collections.time_limit)).await? else {
        return Ok(Survey::default());
    };
    let (head, horizon) = (Row(&head).integer("seq")?, Row(&head).integer("horizon")?);
    let mut survey = Survey { head, horizon, ..Survey::default() };
    let oldest = doc! { "_id": entry_key(tenant, horizon.next()), "tenant": tenant.as_str() };
    let find = collections.operations.find_one(oldest).projection(doc! { "receivedAtMs": 1 });
    if let Some(oldest) = collections.in_time(find.max_time(collections.time_limit)).await? {
        survey.oldest_received_ms = Row(&oldest).optional_integer("receivedAtMs")?;
    }
    // A limit of 0 would mean no limit.
    if request.max_clients == 0 {
        return Ok(survey);
    }
    let seen = doc! { "$gte": signed(*request.active_ms.start()), "$lte": signed(*request.active_ms.end()) };
    let find = collections.clients.find(doc! { "tenant": tenant.as_str(), "seenAtMs": seen });
    let find = find.sort(doc! { "pulledSeq": 1 }).projection(doc! { "pulledSeq": 1 });
    let find = find.limit(signed(request.max_clients as u64)).max_time(collections.time_limit);
    let mut found = collections.in_time(find).await?;
    while collections.in_time(found.advance()).await? {
        survey.pulled.push(Row(found.current()).integer("pulledSeq")?);
    }
    Ok(survey)
}
