//! Exports into files, and imports from them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read as _, Write};
use std::path::Path;

use serde_json::json;
use syncflow_server::core::names::TenantId;
use syncflow_server::limits::service::EXPORT_LINE_MAX_BYTES;
use syncflow_server::service::operator::Operator;

use super::output::{Output, Progress};
use super::{Done, Failure};

/// Writes a tenant to a new file, or to the standard output.
pub(super) async fn export(operator: &Operator, tenant: &TenantId, file: Option<&Path>, output: Output) -> Done {
    let Some(file) = file else {
        let lines = write_lines(operator, tenant, &mut BufWriter::new(io::stdout())).await?;
        return report(tenant, lines, Output { to_stderr: true, ..output });
    };
    if file.exists() {
        return Err(Failure::Other(format!("{} exists already", file.display())));
    }
    // A file that is not whole must not look as if it were.
    let mut partial = file.as_os_str().to_owned();
    partial.push(".partial");
    let mut writer = BufWriter::new(create(Path::new(&partial))?);
    let lines = write_lines(operator, tenant, &mut writer).await?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&partial, file)?;
    report(tenant, lines, output)
}

fn report(tenant: &TenantId, lines: u64, output: Output) -> Done {
    let row = json!({ "tenant": tenant.as_str(), "lines": lines });
    output.row(&row, &format!("{tenant}: lines {lines}"))?;
    Ok(true)
}

/// A new file that only its owner can read and write. A file of an earlier try is removed.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(problem) if problem.kind() != ErrorKind::NotFound => return Err(problem),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn write_lines(operator: &Operator, tenant: &TenantId, writer: &mut impl Write) -> Result<u64, Failure> {
    let (mut export, mut lines, mut progress) = (operator.export(tenant), 0, Progress::new());
    while let Some(more) = export.next().await? {
        for line in more {
            writeln!(writer, "{line}")?;
            lines += 1;
        }
        progress.show(|| format!("{lines} lines"));
    }
    writer.flush()?;
    progress.end();
    Ok(lines)
}

/// Reads lines from a file or the standard input into a tenant.
pub(super) async fn import(
    operator: &Operator,
    tenant: &TenantId,
    file: Option<&Path>,
    is_dry_run: bool,
    output: Output,
) -> Done {
    let (mut reader, mut progress): (Box<dyn BufRead>, _) = match file {
        Some(file) => {
            let opened = File::open(file).map_err(|problem| cannot_read(file, &problem))?;
            let bytes = opened.metadata().map_err(|problem| cannot_read(file, &problem))?.len();
            (Box::new(BufReader::new(opened)), Progress::of_bytes(bytes))
        }
        None => (Box::new(BufReader::new(io::stdin())), Progress::new()),
    };
    let (mut import, mut lines, mut bytes) = (operator.import(tenant, is_dry_run), 0_u64, 0_u64);
    while let Some(line) = read_line(&mut reader, lines + 1)? {
        import.line(&line).await?;
        lines += 1;
        bytes += line.len() as u64 + 1;
        progress.show_bytes(bytes, || format!("{lines} lines"));
    }
    let imported = import.finish().await?;
    progress.end();
    let row = json!({
        "tenant": tenant.as_str(),
        "fromTenant": imported.from_tenant.as_ref().map(TenantId::as_str),
        "documents": imported.documents,
        "presentDocuments": imported.present_documents,
        "ids": imported.ids,
        "clients": imported.clients,
        "isDryRun": is_dry_run,
    });
    let text = format!(
        "{tenant}{}: documents {} (there already {}), ids {}, clients {}",
        if is_dry_run { ", dry run" } else { "" },
        imported.documents,
        imported.present_documents,
        imported.ids,
        imported.clients,
    );
    output.row(&row, &text)?;
    Ok(true)
}

fn cannot_read(file: &Path, problem: &io::Error) -> Failure {
    let why =
        if problem.kind() == ErrorKind::NotFound { "there is no such file".to_owned() } else { problem.to_string() };
    Failure::Other(format!("{}: {why}", file.display()))
}

/// The next line, which has a limit. `None` at the end.
fn read_line(reader: &mut impl BufRead, number: u64) -> Result<Option<String>, Failure> {
    let mut bytes = Vec::new();
    let limit = EXPORT_LINE_MAX_BYTES as u64 + 1;
    if reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    } else if bytes.len() > EXPORT_LINE_MAX_BYTES {
        let what = format!("line {number}: it must have at most {EXPORT_LINE_MAX_BYTES} bytes");
        return Err(Failure::Other(what));
    }
    let line = String::from_utf8(bytes).map_err(|_| Failure::Other(format!("line {number}: it is not UTF-8")))?;
    Ok(Some(line))
}
