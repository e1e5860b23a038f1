use serde::{Deserialize, Serialize};

use super::unset;
use crate::value::GoDuration;

/// When a request is tried again (`retry_policy`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Also on failures after the connect, and on 5xx. Default false.
    #[serde(skip_serializing_if = "unset")]
    pub retry_on: bool,
    /// Limit of one try. Default 0: none.
    pub retry_timeout: GoDuration,
    /// How often; less than 3 counts as 3. With `retry_conditions` as often as it says, default 1.
    #[serde(skip_serializing_if = "unset")]
    pub num_retries: u32,
    /// The statuses to retry on, instead of all 5xx.
    #[serde(skip_serializing_if = "unset")]
    pub status_codes: Vec<u32>,
    /// Exactly what to retry on, instead of `retry_on`. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub retry_conditions: Vec<String>,
    /// The pause before a retry. Default: 10ms each time. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub retry_back_off: Option<RetryBackOff>,
    /// After `retry_timeout` another try is made beside the first, whatever else is retried on, and
    /// the first that answers wins. Default false. Not a key of MOSN.
    #[serde(skip_serializing_if = "unset")]
    pub hedge_on_per_try_timeout: bool,
}

/// A pause that grows with each retry of a request (`retry_back_off`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct RetryBackOff {
    /// At most this before the first retry, twice as long before each further one.
    pub base_interval: GoDuration,
    /// At most this. Default: ten times `base_interval`.
    pub max_interval: GoDuration,
}
