//! From a spec to a router: compile, share, check.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use http::{Method, StatusCode};
use mosn_config::model::{
    ActionSpec, ClusterChoiceSpec, DirectResponseSpec, ForwardSpec, HeaderMatchSpec, HostRewriteSpec, Name,
    PathMatchSpec, PathRewriteSpec, RouteMatchSpec, RouteSpec, RouterSpec, ValueMatchSpec, VariableMatchSpec,
    VirtualHostSpec,
};
use mosn_expression::{CompileError, Expression};
use mosn_telemetry::Variable;
use regex::bytes::Regex;

use crate::{
    Action, BuildError, DirectResponse, Forward, Metadata, Place, Problem, Redirect, Retry, Route, Router,
    VirtualHost,
    action::{Cluster, ForwardPolicy, Weighted, WeightedCluster},
    authority,
    condition::{Conditions, Field, HeaderCondition, QueryCondition, ValueCondition, VariableCondition},
    domains::{Domains, Refused},
    mutation::Mutations,
    path,
    rewrite::{HostRewrite, PathRewrite, Rewrite},
    route::{Finder, PathRule},
    timeouts::DEFAULT_TIMEOUT,
};

pub(crate) fn router(spec: &RouterSpec) -> Result<Router, Vec<BuildError>> {
    let mut builder = Builder::new(&spec.name);
    let mutations = Mutations::build(&spec.headers, &mut builder.problems);
    builder.settle();
    let mut domains = Domains::default();
    let virtual_hosts = spec.virtual_hosts.iter().enumerate();
    let virtual_hosts = virtual_hosts
        .map(|(index, virtual_host)| builder.virtual_host(index, virtual_host, &mut domains))
        .collect();
    builder.finish()?;
    Ok(Router { name: spec.name.clone(), virtual_hosts, domains, mutations: mutations.map(Arc::from) })
}

pub(crate) struct Builder {
    /// Large tables repeat few texts.
    names: HashSet<Name, ahash::RandomState>,
    regexes: HashMap<Name, Regex, ahash::RandomState>,
    policies: Vec<Arc<ForwardPolicy>>,
    place: Place,
    /// At the current place.
    problems: Vec<Problem>,
    errors: Vec<BuildError>,
}

impl Builder {
    pub(crate) fn new(router: &Name) -> Self {
        Self {
            names: HashSet::default(),
            regexes: HashMap::default(),
            policies: Vec::new(),
            place: Place { router: router.clone(), ..Place::default() },
            problems: Vec::new(),
            errors: Vec::new(),
        }
    }

    pub(crate) fn finish(self) -> Result<(), Vec<BuildError>> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.errors) }
    }

    /// Turns the problems found so far into errors at this place.
    fn settle(&mut self) {
        let place = &self.place;
        self.errors
            .extend(self.problems.drain(..).map(|problem| BuildError { place: place.clone(), problem }));
    }

    fn share(&mut self, name: &Name) -> Name {
        match self.names.get(name) {
            Some(shared) => shared.clone(),
            None => {
                self.names.insert(name.clone());
                name.clone()
            }
        }
    }

    fn share_policy(&mut self, policy: ForwardPolicy) -> Arc<ForwardPolicy> {
        if let Some(shared) = self.policies.iter().find(|shared| ***shared == policy) {
            return shared.clone();
        }
        let policy = Arc::new(policy);
        // Where they all differ, looking for one that does not would cost more than it saves.
        if self.policies.len() < 32 {
            self.policies.push(policy.clone());
        }
        policy
    }

    fn regex(&mut self, field: &'static str, pattern: &Name) -> Option<Regex> {
        if let Some(regex) = self.regexes.get(pattern) {
            return Some(regex.clone());
        }
        match mosn_expression::pattern::compile(pattern) {
            Ok(regex) => {
                self.regexes.insert(pattern.clone(), regex.clone());
                Some(regex)
            }
            Err(reason) => {
                self.problems.push(Problem::BadRegex {
                    field,
                    pattern: pattern.clone(),
                    reason: reason.to_string(),
                });
                None
            }
        }
    }

    /// Builds a virtual host and gives it its domains.
    pub(crate) fn virtual_host(
        &mut self,
        index: usize,
        spec: &VirtualHostSpec,
        domains: &mut Domains,
    ) -> Arc<VirtualHost> {
        self.place.virtual_host = Some((index, spec.name.clone()));
        let mutations = Mutations::build(&spec.headers, &mut self.problems);
        self.settle();
        let mut routes = Vec::with_capacity(spec.routes.len());
        for (index, route) in spec.routes.iter().enumerate() {
            self.place.route = Some(index);
            routes.extend(self.route(route));
            self.settle();
        }
        self.place.route = None;
        let virtual_host = Arc::new(VirtualHost {
            name: self.share(&spec.name),
            domains: spec.domains.as_slice().into(),
            finder: Finder::of(&routes),
            routes: routes.into_boxed_slice(),
            mutations,
            filter_config: spec.filter_config.clone(),
        });
        for domain in &spec.domains {
            match domains.insert(domain, &virtual_host) {
                Ok(()) => {}
                Err(Refused::Invalid) => self.problems.push(Problem::BadDomain { domain: domain.clone() }),
                Err(Refused::Taken(other)) => self
                    .problems
                    .push(Problem::DuplicateDomain { domain: domain.clone(), other: other.name.clone() }),
            }
        }
        self.settle();
        virtual_host
    }

    /// `None` if there was a problem without which there would be a route.
    fn route(&mut self, spec: &RouteSpec) -> Option<Route> {
        let mutations = Mutations::build(&spec.headers, &mut self.problems);
        let path = self.path(&spec.matches.path);
        let conditions = self.conditions(&spec.matches, spec.leaves_request);
        let action = self.action(&spec.action, &spec.matches.path);
        Some(Route {
            name: spec.name.as_ref().map(|name| self.share(name)),
            action: action?,
            path: path?,
            conditions,
            mutations,
            filter_config: spec.filter_config.clone(),
        })
    }

    fn path(&mut self, spec: &PathMatchSpec) -> Option<PathRule> {
        Some(match spec {
            PathMatchSpec::Any => PathRule::Any,
            PathMatchSpec::Prefix(prefix) => PathRule::Prefix(self.share(prefix)),
            PathMatchSpec::Exact(text) => PathRule::Exact(self.share(text)),
            PathMatchSpec::Regex(pattern) => PathRule::Regex(Box::new(self.regex("match.regex", pattern)?)),
        })
    }

    fn conditions(&mut self, spec: &RouteMatchSpec, leaves_request: bool) -> Option<Box<Conditions>> {
        if spec.headers.is_empty()
            && spec.method.is_none()
            && spec.query.is_empty()
            && spec.variables.is_empty()
            && spec.expressions.is_empty()
            && !leaves_request
        {
            return None;
        }
        let method = spec.method.as_ref().and_then(|method| {
            let parsed = Method::from_bytes(method.as_bytes()).ok();
            if parsed.is_none() {
                self.problems.push(Problem::BadMethod { method: method.clone() });
            }
            parsed
        });
        let headers = spec.headers.iter().filter_map(|header| self.header(header)).collect();
        let query = spec.query.iter().filter_map(|parameter| {
            let value = self.value("match.query_parameters", &parameter.value)?;
            Some(QueryCondition { name: self.share(&parameter.name), value })
        });
        let query = query.collect();
        let groups = spec
            .variables
            .iter()
            .map(|group| group.iter().filter_map(|condition| self.variable(condition)).collect::<Box<[_]>>());
        let variables = groups.collect();
        let expressions = spec.expressions.iter().filter_map(|text| self.expression(text)).collect();
        Some(Box::new(Conditions { method, headers, query, variables, expressions, leaves_request }))
    }

    fn expression(&mut self, text: &Name) -> Option<Expression> {
        let problem = |error: CompileError| Problem::BadExpression {
            expression: text.clone(),
            reason: error.to_string(),
        };
        Expression::condition(text).map_err(|error| self.problems.push(problem(error))).ok()
    }

    fn variable(&mut self, spec: &VariableMatchSpec) -> Option<VariableCondition> {
        let Some(variable) = Variable::parse(&spec.name) else {
            self.problems
                .push(Problem::UnknownVariable { field: "match.variables", variable: spec.name.clone() });
            return None;
        };
        let value = match &spec.value {
            Some(value) => Some(self.value("match.variables", value)?),
            None => None,
        };
        Some(VariableCondition { variable, value })
    }

    fn header(&mut self, spec: &HeaderMatchSpec) -> Option<HeaderCondition> {
        let value = self.value("match.headers", &spec.value)?;
        Some(HeaderCondition { field: Field::new(self.share(&spec.name)), value, invert: spec.invert })
    }

    fn value(&mut self, field: &'static str, spec: &ValueMatchSpec) -> Option<ValueCondition> {
        Some(match spec {
            ValueMatchSpec::Exact(value) => ValueCondition::Exact(self.share(value)),
            ValueMatchSpec::Regex(pattern) => ValueCondition::Regex(Box::new(self.regex(field, pattern)?)),
            ValueMatchSpec::NonEmpty => ValueCondition::NonEmpty,
            ValueMatchSpec::Present => ValueCondition::Present,
            ValueMatchSpec::Prefix(prefix) => ValueCondition::Prefix(self.share(prefix)),
            ValueMatchSpec::Suffix(suffix) => ValueCondition::Suffix(self.share(suffix)),
            ValueMatchSpec::Contains(part) => ValueCondition::Contains(self.share(part)),
            &ValueMatchSpec::Range(start, end) => ValueCondition::Range(start, end),
        })
    }

    fn action(&mut self, spec: &ActionSpec, path: &PathMatchSpec) -> Option<Action> {
        match spec {
            ActionSpec::None => Some(Action::None),
            ActionSpec::Forward(forward) => Some(Action::Forward(Box::new(self.forward(forward, path)?))),
            ActionSpec::DirectResponse(direct) => self.direct_response(direct),
            ActionSpec::Redirect(redirect) => match Redirect::build(redirect) {
                Ok(redirect) => Some(Action::Redirect(Box::new(redirect))),
                Err(problem) => {
                    self.problems.push(problem);
                    None
                }
            },
        }
    }

    fn direct_response(&mut self, spec: &DirectResponseSpec) -> Option<Action> {
        let status = StatusCode::from_u16(spec.status).ok().filter(|_| (200..=599).contains(&spec.status));
        let Some(status) = status else {
            self.problems.push(Problem::BadStatus { status: spec.status, action: "direct_response" });
            return None;
        };
        let body = Bytes::copy_from_slice(spec.body.as_bytes());
        Some(Action::DirectResponse(Box::new(DirectResponse { status, body })))
    }

    fn forward(&mut self, spec: &ForwardSpec, path: &PathMatchSpec) -> Option<Forward> {
        let cluster = match &spec.cluster {
            ClusterChoiceSpec::Named(name) => Cluster::Named(self.share(name)),
            ClusterChoiceSpec::Variable(variable) => {
                let Some(parsed) = Variable::parse(variable) else {
                    self.problems.push(Problem::UnknownVariable {
                        field: "route.cluster_variable",
                        variable: variable.clone(),
                    });
                    return None;
                };
                Cluster::Variable(Box::new(parsed))
            }
            ClusterChoiceSpec::Header(name) => Cluster::Header(self.share(name)),
            ClusterChoiceSpec::Weighted(clusters) => {
                let clusters = clusters.iter().map(|spec| {
                    let cluster = WeightedCluster {
                        name: self.share(&spec.name),
                        metadata: metadata(spec.metadata_match.as_deref()),
                    };
                    (spec.weight, cluster)
                });
                match Weighted::new(clusters) {
                    Ok(weighted) => Cluster::Weighted(weighted),
                    Err(sum) => {
                        self.problems.push(Problem::WeightSum { sum });
                        return None;
                    }
                }
            }
        };
        let policy = ForwardPolicy {
            timeout: spec.timeout.filter(|timeout| !timeout.is_zero()).unwrap_or(DEFAULT_TIMEOUT),
            per_try_timeout: spec.per_try_timeout,
            retry: Retry::new(&spec.retry),
            buffer_limit: spec.buffer_limit,
            priority: spec.priority,
            mirrors: spec.mirrors.as_slice().into(),
            upstream_protocol: spec.upstream_protocol,
            hash_policy: spec.hash_policy.clone().map(Box::new),
        };
        Some(Forward {
            policy: self.share_policy(policy),
            cluster,
            metadata: metadata(spec.metadata_match.as_deref()),
            rewrite: self.rewrite(spec, path),
        })
    }

    fn rewrite(&mut self, spec: &ForwardSpec, path: &PathMatchSpec) -> Option<Box<Rewrite>> {
        let path = spec.path_rewrite.as_ref().and_then(|rewrite| self.path_rewrite(rewrite, path));
        let host = spec.host_rewrite.as_ref().and_then(|rewrite| match rewrite {
            HostRewriteSpec::Literal(host) if !authority::valid(host.as_bytes()) => {
                self.problems.push(Problem::BadHost { host: host.clone() });
                None
            }
            HostRewriteSpec::Literal(host) => {
                Some(HostRewrite::Literal(Bytes::copy_from_slice(host.as_bytes())))
            }
            HostRewriteSpec::Header(name) => Some(HostRewrite::Header(self.share(name))),
            HostRewriteSpec::HostName => Some(HostRewrite::HostName),
        });
        (path.is_some() || host.is_some()).then(|| Box::new(Rewrite { path, host }))
    }

    fn path_rewrite(&mut self, spec: &PathRewriteSpec, path: &PathMatchSpec) -> Option<PathRewrite> {
        match spec {
            PathRewriteSpec::Prefix(replacement) => {
                // Of a regular expression MOSN takes the source for the matched text, which no path
                // starts with; of other rules there is no text at all.
                let (PathMatchSpec::Prefix(matched) | PathMatchSpec::Exact(matched)) = path else {
                    return None;
                };
                Some(PathRewrite::Prefix {
                    matched: self.share(matched),
                    replacement: path::encode(replacement.as_bytes()).into(),
                })
            }
            PathRewriteSpec::Regex { pattern, substitution } => Some(PathRewrite::Regex {
                pattern: Box::new(self.regex("route.regex_rewrite", pattern)?),
                substitution: self.share(substitution),
            }),
        }
    }
}

fn metadata(spec: Option<&std::collections::BTreeMap<Name, Name>>) -> Option<Metadata> {
    spec.map(|spec| Arc::new(spec.clone()))
}
