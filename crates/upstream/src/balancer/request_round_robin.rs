//! Every request starts with the first host, and each further try goes on with the next.

use std::sync::Arc;

use super::{ChooseContext, Terms, around};
use crate::Host;

pub(crate) fn pick<'a>(
    hosts: &'a [Arc<Host>],
    cx: &mut ChooseContext<'_>,
    terms: Terms<'_>,
) -> Option<&'a Arc<Host>> {
    let start = cx.position.map_or(0, |last| last as usize + 1) % hosts.len().max(1);
    let (index, host) = around(hosts, start).find(|(_, host)| terms.take(host))?;
    cx.position = Some(index as u32);
    Some(host)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        Health,
        balancer::testing::{PLAIN, hosts, index_of},
    };

    #[test]
    fn a_request_goes_on_where_it_was_and_the_next_one_starts_anew() {
        let hosts = hosts(&[1; 3]);
        let next = |cx: &mut ChooseContext<'_>| index_of(&hosts, pick(&hosts, cx, PLAIN).unwrap());
        let cx = &mut ChooseContext::default();
        assert_eq!([next(cx), next(cx), next(cx), next(cx)], [0, 1, 2, 0]);
        assert_eq!(next(&mut ChooseContext::default()), 0);
        hosts[0].set_health(Health::FAILED_ACTIVE_CHECK, true, Instant::now());
        assert_eq!(next(&mut ChooseContext::default()), 1);
    }
}
