//! Changes to header fields.

use mosn_config::model::{HeaderAddSpec, HeaderMutationsSpec, Name};
use mosn_core::{Headers, RequestHead};
use mosn_telemetry::Variable;

use crate::{Message, Variables, authority, error::Problem};

/// One level's changes.
#[derive(Debug, Default)]
pub(crate) struct Mutations {
    pub(crate) request: Steps,
    pub(crate) response: Steps,
}

/// First the additions, then the removals.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    add: Box<[Addition]>,
    remove: Box<[Name]>,
}

#[derive(Debug)]
struct Addition {
    name: Name,
    value: Value,
    append: bool,
}

#[derive(Debug)]
enum Value {
    Literal(Name),
    Variable(Box<Variable>),
}

impl Mutations {
    /// `None` where nothing changes.
    pub(crate) fn build(spec: &HeaderMutationsSpec, problems: &mut Vec<Problem>) -> Option<Box<Self>> {
        let spec = spec.inner.as_ref()?;
        let mutations = Self {
            request: Steps::build(&spec.request_add, &spec.request_remove, problems),
            response: Steps::build(&spec.response_add, &spec.response_remove, problems),
        };
        Some(Box::new(mutations))
    }
}

impl Steps {
    fn build(add: &[HeaderAddSpec], remove: &[Name], problems: &mut Vec<Problem>) -> Self {
        let add = add.iter().filter_map(|spec| match Addition::build(spec) {
            Ok(addition) => Some(addition),
            Err(problem) => {
                problems.push(problem);
                None
            }
        });
        Self { add: add.collect(), remove: remove.into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Whether every message is changed in the same way.
    pub(crate) fn is_literal(&self) -> bool {
        self.add.iter().all(|addition| matches!(addition.value, Value::Literal(_)))
    }

    pub(crate) fn request(&self, head: &mut RequestHead, variables: &dyn Variables) {
        for addition in &self.add {
            let mut scratch = Vec::new();
            let value = addition.value.get(variables, Message::Request(head), &mut scratch);
            // The request's host is the authority, whatever came as a field.
            if &*addition.name == "host" {
                if authority::valid(value) {
                    head.authority = bytes::Bytes::copy_from_slice(value);
                }
            } else {
                addition.apply(&mut head.headers, value);
            }
        }
        self.removals(&mut head.headers);
    }

    pub(crate) fn response(&self, headers: &mut Headers, variables: &dyn Variables) {
        for addition in &self.add {
            let mut scratch = Vec::new();
            let value = addition.value.get(variables, Message::Response(headers), &mut scratch);
            addition.apply(headers, value);
        }
        self.removals(headers);
    }

    fn removals(&self, headers: &mut Headers) {
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

impl Addition {
    fn build(spec: &HeaderAddSpec) -> Result<Self, Problem> {
        if HeaderAddSpec::FRAMING.iter().any(|name| spec.name.eq_ignore_ascii_case(name)) {
            return Err(Problem::FramingHeader { name: spec.name.clone() });
        }
        let variable = spec.value.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
        let value = match variable.and_then(Variable::parse) {
            Some(variable) => Value::Variable(Box::new(variable)),
            None => Value::Literal(spec.value.clone()),
        };
        let literal = match &value {
            Value::Literal(literal) => literal.as_bytes(),
            Value::Variable(_) => b"",
        };
        if !Headers::default().set(&spec.name, literal) {
            return Err(Problem::BadHeader { name: spec.name.clone(), value: spec.value.clone() });
        }
        let name = if spec.name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            spec.name.to_ascii_lowercase().into()
        } else {
            spec.name.clone()
        };
        Ok(Self { name, value, append: spec.append })
    }

    /// A value that the network made unfit for a field changes nothing.
    fn apply(&self, headers: &mut Headers, value: &[u8]) {
        if !self.append {
            headers.set(&self.name, value);
            return;
        }
        // RFC 9110 5.3: this one cannot be joined with commas.
        if &*self.name == "set-cookie" {
            headers.append(&self.name, value);
            return;
        }
        let mut joined = Vec::new();
        for old in headers.get_all(&self.name).filter(|old| !old.is_empty()) {
            joined.extend_from_slice(old);
            joined.push(b',');
        }
        if joined.is_empty() {
            headers.set(&self.name, value);
        } else {
            joined.extend_from_slice(value);
            headers.set(&self.name, &joined);
        }
    }
}

impl Value {
    /// Empty where a variable has no value.
    fn get<'a>(
        &'a self,
        variables: &dyn Variables,
        message: Message<'_>,
        scratch: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        match self {
            Self::Literal(literal) => literal.as_bytes(),
            Self::Variable(variable) => {
                if !variables.lookup(variable, message, scratch) {
                    scratch.clear();
                }
                scratch
            }
        }
    }
}
