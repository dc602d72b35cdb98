//! Imports from the database of an Express server.

use serde_json::json;
use syncflow_server::core::names::TenantId;
use syncflow_server::service::operator::{BadRow, BadRows, ExpressImported, Operator};
use syncflow_server::store::express::ExpressSource;

use super::output::{Output, Progress};
use super::{Done, Failure};

/// The tenant of an import, and how it is done.
pub(super) struct Wanted {
    pub(super) tenant: TenantId,
    pub(super) is_dry_run: bool,
    pub(super) bad_rows: BadRows,
}

/// Reads the database into a tenant, and prints each row that cannot be taken over.
pub(super) async fn import(
    operator: &Operator,
    wanted: &Wanted,
    source: Option<Box<dyn ExpressSource>>,
    output: Output,
) -> Done {
    let Wanted { tenant, is_dry_run, bad_rows } = wanted;
    let source = source.ok_or_else(|| Failure::Other("there is no database to read".to_owned()))?;
    let mut import = operator.import_express(tenant, source, *bad_rows, *is_dry_run);
    let (mut documents, mut progress) = (0_u64, Progress::new());
    while let Some(bad) = import.next().await? {
        for BadRow { place, problem } in &bad {
            output.row(&json!({ "place": place, "problem": problem }), &format!("{place}: {problem}"))?;
        }
        documents += 1;
        progress.show(|| format!("{documents} documents"));
    }
    let imported = import.finish().await?;
    progress.end();
    report(wanted, &imported, output)?;
    Ok(imported.bad_rows == 0 || *bad_rows == BadRows::Skip)
}

fn report(wanted: &Wanted, imported: &ExpressImported, output: Output) -> std::io::Result<()> {
    let Wanted { tenant, is_dry_run, .. } = wanted;
    let row = json!({
        "tenant": tenant.as_str(),
        "documents": imported.documents,
        "presentDocuments": imported.present_documents,
        "ids": imported.ids,
        "clients": imported.clients,
        "completedDocuments": imported.completed_documents,
        "overwrittenOperations": imported.overwritten_operations,
        "badRows": imported.bad_rows,
        "leftOutOperations": imported.left_out_operations,
        "isDryRun": is_dry_run,
    });
    let text = format!(
        "{tenant}{}: documents {} (there already {}), ids {}, clients {}, completed {}, overwritten {}, bad rows {}, \
         left out {}",
        if *is_dry_run { ", dry run" } else { "" },
        imported.documents,
        imported.present_documents,
        imported.ids,
        imported.clients,
        imported.completed_documents,
        imported.overwritten_operations,
        imported.bad_rows,
        imported.left_out_operations,
    );
    output.row(&row, &text)
}
