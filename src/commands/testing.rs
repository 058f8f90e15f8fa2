//! `gemini-pool keys test`: one key at once, many as a job that tells how far it is.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Error, Target, number, progress, say, text};

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(250);

/// Tests keys and tells what came of each, in the order in which they were named.
pub(super) async fn test(ids: &[u32], model: Option<&str>, target: &Target) -> Result<(), Error> {
    let mut failed = Vec::new();
    if let [id] = ids {
        let seen =
            target.call(Method::POST, &format!("/keys/{id}/test"), Some(json!({"model": model}))).await?;
        failed.extend(tell(*id, Some(&seen), "")?);
    } else {
        let job = job(ids, model, target).await?;
        let results = job.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for id in ids {
            let result = results.iter().find(|result| number(result, "id") == u64::from(*id));
            let seen = result.and_then(|result| result.get("test")).filter(|seen| seen.is_object());
            let error = result.map_or("the job was cut short", |result| text(result, "error"));
            failed.extend(tell(*id, seen, error)?);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::Failed { keys: failed }) }
}

/// The job once it has ended.
async fn job(ids: &[u32], model: Option<&str>, target: &Target) -> Result<Value, Error> {
    let body = json!({"ids": ids, "model": model});
    let mut job = target.call(Method::POST, "/keys/bulk_test", Some(body)).await?;
    let path = format!("/jobs/{}", text(&job, "id"));
    let bar = progress::bar(number(&job, "of"), "keys tested");
    while text(&job, "state") == "running" {
        tokio::time::sleep(LOOK).await;
        job = target.call(Method::GET, &path, None).await?;
        bar.set_position(number(&job, "done"));
    }
    bar.finish_and_clear();
    Ok(job)
}

/// Prints a line; gives the key if it failed.
fn tell(id: u32, seen: Option<&Value>, error: &str) -> Result<Option<u32>, Error> {
    let Some(seen) = seen else {
        say(&format!("{id}\tnot tested\t-\t{error}"))?;
        return Ok(Some(id));
    };
    let (verdict, latency, reason) =
        (text(seen, "verdict"), number(seen, "latency_ms"), text(seen, "reason"));
    say(&format!("{id}\t{verdict}\t{latency} ms\t{reason}"))?;
    Ok((seen.get("passed") != Some(&Value::Bool(true))).then_some(id))
}
