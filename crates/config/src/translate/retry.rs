use std::time::Duration;

use super::route::positive;
use crate::document::At;
use crate::model::{BackOffSpec, RetryBudgetSpec, RetryCondition, RetrySpec};
use crate::mosn::{RetryBackOff, RetryBudget, RetryPolicy};
use crate::problem::Severity;

/// MOSN never allows fewer.
const LEAST_RETRIES: u32 = 3;

pub(super) fn retry(at: &At<'_>, policy: &RetryPolicy) -> (RetrySpec, Option<Duration>) {
    let mut status_codes = Vec::with_capacity(policy.status_codes.len());
    for (index, &code) in policy.status_codes.iter().enumerate() {
        match u16::try_from(code).ok().filter(|code| (100..=599).contains(code)) {
            Some(code) => status_codes.push(code),
            None => {
                let at = at.key("status_codes");
                at.index(index).error(format!("expected a status from 100 to 599, found {code}"));
            }
        }
    }
    let conditions = conditions(&at.key("retry_conditions"), policy, &status_codes);
    if conditions.is_empty() && !policy.retry_on && !policy.status_codes.is_empty() {
        at.key("status_codes").warning("have no effect without retry_on");
    }
    if conditions.is_empty() && (1..LEAST_RETRIES).contains(&policy.num_retries) {
        let message =
            format!("counts as {LEAST_RETRIES}: only with retry_conditions it is as many as it says");
        at.key("num_retries").warning(message);
    }
    if policy.hedge_on_per_try_timeout && policy.retry_timeout.positive().is_none() {
        at.key("hedge_on_per_try_timeout").warning(
            "has no effect without retry_timeout, but where x-mosn-try-timeout comes with a request",
        );
    }
    let max_retries = match policy.num_retries {
        given if conditions.is_empty() => given.max(LEAST_RETRIES),
        0 => 1,
        given => given,
    };
    let back_off = policy.retry_back_off.as_ref();
    let back_off = back_off.and_then(|given| back_off_spec(&at.key("retry_back_off"), given));
    let spec = RetrySpec {
        on_failure: policy.retry_on,
        conditions,
        status_codes,
        max_retries,
        back_off,
        hedge: policy.hedge_on_per_try_timeout,
    };
    (spec, positive(&at.key("retry_timeout"), policy.retry_timeout))
}

fn conditions(at: &At<'_>, policy: &RetryPolicy, status_codes: &[u16]) -> Vec<RetryCondition> {
    let mut conditions = Vec::with_capacity(policy.retry_conditions.len());
    for (index, name) in policy.retry_conditions.iter().enumerate() {
        match RetryCondition::from_name(name) {
            Some(condition) => conditions.push(condition),
            None => at.index(index).unknown(
                Severity::Error,
                format!("unknown condition {name:?}"),
                name,
                RetryCondition::NAMES.iter().map(|&(name, _)| name),
            ),
        }
    }
    if !conditions.is_empty() {
        if policy.retry_on {
            at.warning("decides alone: retry_on beside it has no effect");
        }
        let by_status = conditions.contains(&RetryCondition::StatusCodes);
        if by_status && status_codes.is_empty() {
            at.warning("\"retriable-status-codes\" has no effect without status_codes");
        } else if !by_status && !status_codes.is_empty() {
            at.warning("status_codes beside it have no effect without \"retriable-status-codes\"");
        }
    }
    conditions
}

fn back_off_spec(at: &At<'_>, given: &RetryBackOff) -> Option<BackOffSpec> {
    let at_base = at.key("base_interval");
    let Some(base) = given.base_interval.positive() else {
        at_base.error(format!("expected a duration above 0, found {}", given.base_interval));
        return None;
    };
    let max = match positive(&at.key("max_interval"), given.max_interval) {
        None => base.saturating_mul(10),
        Some(max) if max < base => {
            at.key("max_interval").error(format!("{max:?} is shorter than base_interval, {base:?}"));
            return None;
        }
        Some(max) => max,
    };
    Some(BackOffSpec { base, max })
}

pub(super) fn retry_budget(at: &At<'_>, given: &RetryBudget) -> RetryBudgetSpec {
    let mut spec = RetryBudgetSpec::default();
    if let Some(percent) = given.budget_percent {
        if !(0.0..=100.0).contains(&percent) {
            at.key("budget_percent").error(format!("expected 0 to 100, found {percent}"));
        }
        spec.percent = percent;
    }
    if let Some(least) = given.min_retry_concurrency {
        spec.min_concurrency = least;
    }
    spec
}
