use std::sync::Arc;

use mosn_config::model::{Name, RouterSpec};
use mosn_core::{Headers, RequestHead};

use crate::{
    BuildError, Route, Subject, Variables, VirtualHost, build,
    domains::Domains,
    hosts::Hosts,
    mutation::Mutations,
    path::{self, Buffer},
};

/// A route table, ready to be asked.
#[derive(Debug)]
pub struct Router {
    pub(crate) name: Name,
    pub(crate) virtual_hosts: Hosts,
    pub(crate) domains: Domains,
    pub(crate) mutations: Option<Arc<Mutations>>,
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'a> {
    /// The router that was asked.
    pub router: &'a Router,
    /// The virtual host of the request's domain.
    pub virtual_host: &'a VirtualHost,
    /// The first of its routes that matches.
    pub route: &'a Route,
}

impl Router {
    /// Builds a router.
    ///
    /// # Errors
    /// Every problem there is, each with its place. A router is never built in part: a rule that
    /// was left out could make another one take its requests.
    pub fn build(spec: &RouterSpec) -> Result<Self, Vec<BuildError>> {
        build::router(spec)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its virtual hosts, in configuration order.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &VirtualHost> {
        self.virtual_hosts.iter().map(|host| &**host)
    }

    /// The route for a request; `None` is answered 404.
    #[must_use]
    pub fn find<'a, S: Subject + ?Sized>(&'a self, subject: &S) -> Option<RouteMatch<'a>> {
        let virtual_host = self.domains.find(subject.authority())?;
        let mut buffer = Buffer::new();
        let path = path::canonical(path::split(subject.path()).0, &mut buffer).path;
        let route = virtual_host.find(path, subject)?;
        Some(RouteMatch { router: self, virtual_host, route })
    }
}

impl RouteMatch<'_> {
    /// Adds and removes request headers: the route's, then the virtual host's, then the router's,
    /// at each level additions first. Comes before [`Forward::rewrite`](crate::Forward::rewrite).
    pub fn mutate_request(&self, head: &mut RequestHead, variables: &dyn Variables) {
        if self.route.leaves_request() {
            return;
        }
        for mutations in self.levels() {
            mutations.request.request(head, variables);
        }
    }

    /// Adds and removes reply headers, in the same order.
    pub fn mutate_response(&self, headers: &mut Headers, variables: &dyn Variables) {
        for mutations in self.levels() {
            mutations.response.response(headers, variables);
        }
    }

    /// A stream filter's settings for this route, as JSON text: the route's or else the virtual host's.
    #[must_use]
    pub fn filter_config(&self, filter: &str) -> Option<&str> {
        [&self.route.filter_config, &self.virtual_host.filter_config]
            .into_iter()
            .find_map(|configs| configs.as_ref()?.get(filter))
            .map(|config| &**config)
    }

    /// Whether no header is to be changed, neither of the request nor of the reply.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        self.levels().next().is_none()
    }

    /// Whether no header of the reply is to be changed, and none of the request's depends on anything.
    #[must_use]
    pub fn changes_requests_alike(&self) -> bool {
        self.levels().all(|level| level.response.is_empty() && level.request.is_literal())
    }

    fn levels(&self) -> impl Iterator<Item = &Mutations> {
        let router = self.router.mutations.as_deref();
        [self.route.mutations.as_deref(), self.virtual_host.mutations.as_deref(), router]
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests;
