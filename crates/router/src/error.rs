use std::fmt;

use mosn_config::model::Name;

/// Why a router cannot be built: one problem, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct BuildError {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: Problem,
}

/// Where in a router a problem is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The router's name.
    pub router: Name,
    /// Index and name of the virtual host, unless the problem is the router's own.
    pub virtual_host: Option<(usize, Name)>,
    /// Index of the route, unless the problem is the virtual host's own.
    pub route: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "router `{}`", self.router)?;
        if let Some((index, name)) = &self.virtual_host {
            write!(f, ", virtual_hosts[{index}] `{name}`")?;
        }
        if let Some(index) = self.route {
            write!(f, ", routers[{index}]")?;
        }
        Ok(())
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A domain cannot be parsed.
    #[error("domain `{domain}` is not valid: write `a.com`, `a.com:80`, `a.com:*`, `*.a.com`, `a.*` or `*`")]
    BadDomain {
        /// As written.
        domain: Name,
    },
    /// Two virtual hosts, or one of them twice, have the same domain.
    #[error("domain `{domain}` is already taken by virtual host `{other}`: a domain belongs to one only")]
    DuplicateDomain {
        /// As written.
        domain: Name,
        /// Who has it.
        other: Name,
    },
    /// A regular expression does not compile.
    #[error("`{pattern}` in {field} is not a valid regular expression: {reason}")]
    BadRegex {
        /// The field that holds it.
        field: &'static str,
        /// As written.
        pattern: Name,
        /// What the compiler says, in one line.
        reason: String,
    },
    /// An expression does not compile, or is no condition.
    #[error("`{expression}` in match.dsl_expressions is not a valid condition: {reason}")]
    BadExpression {
        /// As written.
        expression: Name,
        /// Why, and where in it.
        reason: String,
    },
    /// A method that no request can have.
    #[error("`{method}` is not a valid method")]
    BadMethod {
        /// As written.
        method: String,
    },
    /// A header that cannot be added: the name or the value is not valid.
    #[error("header `{name}: {value}` is not valid in a message")]
    BadHeader {
        /// Its name.
        name: Name,
        /// Its value.
        value: Name,
    },
    /// A header that frames the message or belongs to the connection.
    #[error("header `{name}` belongs to the connection and cannot be added: the proxy writes it itself")]
    FramingHeader {
        /// Its name.
        name: Name,
    },
    /// Weighted clusters without any weight.
    #[error("the weights of weighted_clusters add up to {sum}: they must add up to 1 to 4294967295")]
    WeightSum {
        /// Their sum.
        sum: u64,
    },
    /// There is no variable of this name.
    #[error("`{variable}` in {field} is not a known variable")]
    UnknownVariable {
        /// The field that names it.
        field: &'static str,
        /// Its name.
        variable: Name,
    },
    /// A status that an action cannot have.
    #[error("status {status} is not valid for a {action}")]
    BadStatus {
        /// As configured.
        status: u16,
        /// `redirect` or `direct_response`.
        action: &'static str,
    },
    /// A redirect's scheme is not a scheme.
    #[error("scheme_redirect `{scheme}` is not a scheme: lower-case letters, digits, `+`, `.`, `-`")]
    BadScheme {
        /// As written.
        scheme: Name,
    },
    /// A host that cannot stand in a request.
    #[error("host `{host}` is not valid: write a host name or address, perhaps with a port")]
    BadHost {
        /// As written.
        host: Name,
    },
}
