//! Routers that differ from another in one virtual host.

use std::sync::Arc;

use mosn_config::model::VirtualHostSpec;

use crate::{BuildError, Router, VirtualHost, build::Builder, domains::Domains, hosts::Hosts};

impl Router {
    /// The index of the virtual host that takes requests to `authority`; without one, that of any
    /// domain.
    #[must_use]
    pub fn virtual_host_of(&self, authority: &str) -> Option<usize> {
        let found = self.domains.find(authority.as_bytes())?;
        self.virtual_hosts.iter().position(|host| Arc::ptr_eq(host, found))
    }

    /// The same router with another virtual host in the place of the one at `index`, or after the
    /// last if there is none at `index`. It costs little more than the size of the virtual host,
    /// whatever that of the router.
    ///
    /// # Errors
    /// As for [`Self::build`].
    pub fn with_virtual_host(&self, index: usize, spec: &VirtualHostSpec) -> Result<Self, Vec<BuildError>> {
        let index = index.min(self.virtual_hosts.len());
        let mut builder = Builder::new(&self.name);
        let mut domains = self.domains_without(self.virtual_hosts.get(index));
        let host = builder.virtual_host(index, spec, &mut domains);
        builder.finish()?;
        Ok(self.with(self.virtual_hosts.with(index, host), domains))
    }

    /// The same router without the virtual host at `index`.
    #[must_use]
    pub fn without_virtual_host(&self, index: usize) -> Self {
        let domains = self.domains_without(self.virtual_hosts.get(index));
        self.with(self.virtual_hosts.without(index), domains)
    }

    fn with(&self, virtual_hosts: Hosts, domains: Domains) -> Self {
        Self { name: self.name.clone(), virtual_hosts, domains, mutations: self.mutations.clone() }
    }

    fn domains_without(&self, host: Option<&Arc<VirtualHost>>) -> Domains {
        let mut domains = self.domains.clone();
        for domain in host.iter().flat_map(|host| &host.domains) {
            domains.remove(domain);
        }
        domains
    }
}

#[cfg(test)]
mod tests {
    use mosn_config::model::{Name, RouterSpec};
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str, domains: &[&str]) -> VirtualHostSpec {
        VirtualHostSpec {
            name: name.into(),
            domains: domains.iter().map(|domain| Name::from(*domain)).collect(),
            ..VirtualHostSpec::default()
        }
    }

    fn build(hosts: &[VirtualHostSpec]) -> Result<Router, Vec<BuildError>> {
        let spec = RouterSpec { virtual_hosts: hosts.to_vec(), ..RouterSpec::default() };
        Router::build(&spec)
    }

    fn found<'r>(router: &'r Router, authority: &str) -> Option<&'r str> {
        let index = router.virtual_host_of(authority)?;
        router.virtual_hosts.get(index).map(|host| &*host.name)
    }

    #[test]
    fn an_update_of_one_shares_the_others() {
        let hosts: Vec<_> = (0..1000).map(|n| host(&n.to_string(), &[&format!("{n}.com")])).collect();
        let router = build(&hosts).unwrap();
        let new = router.with_virtual_host(500, &host("new", &["500.com"])).unwrap();
        let same = router.virtual_hosts.iter().zip(new.virtual_hosts.iter()).map(|(a, b)| Arc::ptr_eq(a, b));
        let changed: Vec<_> = same.enumerate().filter(|&(_, same)| !same).map(|(index, _)| index).collect();
        assert_eq!(changed, [500]);
        assert_eq!((found(&router, "500.com"), found(&new, "500.com")), (Some("500"), Some("new")));
    }

    #[test]
    fn a_domain_that_another_has_is_refused_and_named() {
        let router = build(&[host("a", &["a.com"]), host("b", &["b.com"])]).unwrap();
        for index in [0, 2] {
            let errors = router.with_virtual_host(index, &host("c", &["c.com", "B.com"])).unwrap_err();
            let error = errors[0].to_string();
            assert!(errors.len() == 1 && error.contains("`c`") && error.contains("`b`"), "{error}");
        }
        let moved = router.with_virtual_host(0, &host("a", &["c.com"])).unwrap();
        assert_eq!((found(&moved, "a.com"), found(&moved, "c.com")), (None, Some("a")));
    }

    proptest! {
        #[test]
        fn updates_one_by_one_make_what_building_makes(
            first in 0..300_usize,
            changes in proptest::collection::vec((0..310_usize, 0..40_u8, any::<bool>()), 1..40),
        ) {
            let named = |n: usize| host(&n.to_string(), &[&format!("{n}.com"), &format!("*.{n}.org:*")]);
            let mut hosts: Vec<_> = (0..first).map(named).collect();
            let mut router = build(&hosts).unwrap();
            for (index, domain, remove) in changes {
                if remove && index < hosts.len() {
                    hosts.remove(index);
                    router = router.without_virtual_host(index);
                    continue;
                }
                let new = host("new", &[&format!("{domain}.com"), &format!("{domain}.net")]);
                let mut after = hosts.clone();
                match after.get_mut(index) {
                    Some(slot) => *slot = new.clone(),
                    None => after.push(new.clone()),
                }
                match (build(&after), router.with_virtual_host(index, &new)) {
                    (Ok(_), Ok(updated)) => (hosts, router) = (after, updated),
                    (Err(_), Err(_)) => {}
                    (built, updated) => prop_assert!(false, "{built:?} {updated:?}"),
                }
            }
            let built = build(&hosts).unwrap();
            prop_assert_eq!(router.virtual_hosts().count(), hosts.len());
            for n in 0..310 {
                for authority in [format!("{n}.com"), format!("x.{n}.org:80"), format!("{n}.net")] {
                    let index = router.virtual_host_of(&authority);
                    prop_assert_eq!(index, built.virtual_host_of(&authority), "{}", authority);
                    prop_assert_eq!(found(&router, &authority), found(&built, &authority));
                }
            }
        }
    }
}
