//! Limits of AWS Lambda, of what calls a Lambda, and of CloudWatch.

/// The largest answer that a Lambda may return, in bytes of the JSON that contains the HTTP answer and its body as a
/// string.
pub const LAMBDA_ANSWER_MAX_BYTES: usize = 6 * 1024 * 1024;

/// The largest answer that a load balancer accepts from a Lambda, in bytes, counted like [`LAMBDA_ANSWER_MAX_BYTES`].
pub const LOAD_BALANCER_ANSWER_MAX_BYTES: usize = 1_000_000;

/// The part of a Lambda's answer that is reserved for everything except its body, in bytes: status, headers, and the
/// JSON around them.
pub const LAMBDA_HEAD_MAX_BYTES: usize = 16 * 1024;

/// How long before a Lambda's deadline a request is answered at the latest, in milliseconds.
pub const LAMBDA_ANSWER_MARGIN_MS: u64 = 500;

/// How long before a Lambda's deadline a scheduled compaction begins its last step at the latest, in milliseconds.
pub const LAMBDA_COMPACTION_MARGIN_MS: u64 = 10_000;

/// The most values for one metric in a line of metrics, by the embedded metric format.
pub const METRICS_LINE_MAX_VALUES: usize = 100;

/// Longest namespace of metrics, in bytes, by CloudWatch's rule.
pub const METRICS_NAMESPACE_MAX_BYTES: usize = 255;

/// How long the answer to a push waits for the wake-up of other clients, in milliseconds.
pub const WAKE_UP_TIME_MAX_MS: u64 = 300;
