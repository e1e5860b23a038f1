use regex::bytes::Regex;

use crate::{
    Attribute, CompileError, EvaluateError, GoDuration, Type, Value,
    attributes::{self, Attributes},
    functions::{Function, SIGNATURES},
    nearest, pattern,
    syntax::{self, Ast, Binary, Kind, Unary},
};

/// An expression that has been checked.
#[derive(Debug)]
pub struct Expression {
    root: Node,
    kind: Type,
    changes: bool,
}

/// A part of it, every operand of which has the type that it must have.
#[derive(Debug)]
pub(crate) enum Node {
    Bool(bool),
    Int(i64),
    Double(f64),
    String(Box<[u8]>),
    Duration(i64),
    Attribute(Attribute, Type),
    Entry(Box<Node>, Box<Node>),
    Element(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Minus(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Arithmetic(Binary, Box<Node>, Box<Node>),
    /// If the first has the value `true`, the second, else the third.
    If(Box<Node>, Box<Node>, Box<Node>),
    HasAttribute(Attribute, Type),
    HasEntry(Box<Node>, Box<Node>),
    /// A pattern that is known beforehand.
    Matches(Box<Regex>, Box<Node>),
    Call(Function, Box<[Node]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Expression {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// It is none, or some part of it can never have a value: an unknown name, operands whose types do
    /// not go together.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let mut checker = Checker { changes: false };
        let (root, kind) = checker.check(&syntax::parse(text)?)?;
        Ok(Self { root, kind, changes: checker.changes })
    }

    /// Reads and checks a condition: an expression that is true or false, and changes nothing.
    ///
    /// # Errors
    /// As for [`Self::compile`], or it is none.
    pub fn condition(text: &str) -> Result<Self, CompileError> {
        let expression = Self::compile(text)?;
        if expression.kind != Type::Bool {
            let reason = format!("expected a truth value, found {}", expression.kind);
            return Err(CompileError::at(0, reason));
        }
        if expression.changes {
            return Err(CompileError::at(0, "a rule asks, and changes nothing"));
        }
        Ok(expression)
    }

    /// The type of its value.
    #[must_use]
    pub const fn kind(&self) -> Type {
        self.kind
    }

    /// Whether evaluating it may change the message.
    #[must_use]
    pub const fn changes(&self) -> bool {
        self.changes
    }

    /// Its value for a request.
    ///
    /// # Errors
    /// Some part of it has none.
    pub fn evaluate<'a, A: Attributes + ?Sized>(&'a self, of: &'a A) -> Result<Value<'a>, EvaluateError> {
        self.root.evaluate(of)
    }

    /// Whether it has a value, and that is `true`.
    pub fn holds<A: Attributes + ?Sized>(&self, of: &A) -> bool {
        matches!(self.root.evaluate(of), Ok(Value::Bool(true)))
    }
}

struct Checker {
    changes: bool,
}

type Checked = Result<(Node, Type), CompileError>;

impl Checker {
    fn check(&mut self, ast: &Ast) -> Checked {
        match &ast.kind {
            Kind::Int(number) => Ok((Node::Int(*number), Type::Int)),
            Kind::Double(number) => Ok((Node::Double(*number), Type::Double)),
            // A text that reads as a duration is one.
            Kind::String(text) => Ok(match text.parse::<GoDuration>() {
                Ok(duration) => (Node::Duration(duration.as_nanos()), Type::Duration),
                Err(_) => (Node::String(text.as_bytes().into()), Type::String),
            }),
            Kind::Name(name) if name == "true" => Ok((Node::Bool(true), Type::Bool)),
            Kind::Name(name) if name == "false" => Ok((Node::Bool(false), Type::Bool)),
            Kind::Name(_) | Kind::Select(..) => {
                let (attribute, kind) = attribute(ast)?;
                Ok((Node::Attribute(attribute, kind), kind))
            }
            Kind::Index(of, index) => self.index(ast, of, index),
            Kind::Unary(operator, operand) => self.unary(ast, *operator, operand),
            Kind::Binary(operator, a, b) => self.binary(ast, *operator, a, b),
            Kind::Pick(operands) => self.pick(ast, operands),
            Kind::Parentheses(inner) => self.check(inner),
            Kind::Call(name, receiver, arguments) => self.call(ast, name, receiver.as_deref(), arguments),
        }
    }

    fn expect(&mut self, ast: &Ast, expected: Type) -> Result<Box<Node>, CompileError> {
        let (node, kind) = self.check(ast)?;
        if kind == expected {
            return Ok(Box::new(node));
        }
        Err(CompileError::at(ast.at, format!("expected {expected}, found {kind}{}", note(ast, kind))))
    }

    fn index(&mut self, ast: &Ast, of: &Ast, index: &Ast) -> Checked {
        let (map, kind) = self.check(of)?;
        match kind {
            Type::Map => Ok((Node::Entry(Box::new(map), self.key(index)?), Type::String)),
            Type::List => Ok((Node::Element(Box::new(map), self.expect(index, Type::Int)?), Type::String)),
            _ => Err(CompileError::at(ast.at, format!("expected a map, found {kind}"))),
        }
    }

    fn key(&mut self, index: &Ast) -> Result<Box<Node>, CompileError> {
        self.expect(index, Type::String)
    }

    fn unary(&mut self, ast: &Ast, operator: Unary, operand: &Ast) -> Checked {
        if operator == Unary::Not {
            return Ok((Node::Not(self.expect(operand, Type::Bool)?), Type::Bool));
        }
        match self.check(operand)? {
            (Node::Int(number), kind) => Ok((Node::Int(-number), kind)),
            (Node::Double(number), kind) => Ok((Node::Double(-number), kind)),
            (node, kind @ (Type::Int | Type::Double)) => Ok((Node::Minus(Box::new(node)), kind)),
            (_, kind) => Err(CompileError::at(ast.at, format!("expected a number, found {kind}"))),
        }
    }

    fn binary(&mut self, ast: &Ast, operator: Binary, left: &Ast, right: &Ast) -> Checked {
        if matches!(operator, Binary::And | Binary::Or) {
            let (a, b) = (self.expect(left, Type::Bool)?, self.expect(right, Type::Bool)?);
            let node = if operator == Binary::And { Node::And(a, b) } else { Node::Or(a, b) };
            return Ok((node, Type::Bool));
        }
        let (a, left_kind) = self.check(left)?;
        let (b, right_kind) = self.check(right)?;
        let comparison = match operator {
            Binary::Equal => Some(Comparison::Equal),
            Binary::NotEqual => Some(Comparison::NotEqual),
            Binary::Less => Some(Comparison::Less),
            Binary::LessOrEqual => Some(Comparison::LessOrEqual),
            Binary::Greater => Some(Comparison::Greater),
            Binary::GreaterOrEqual => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        let (a, b) = (Box::new(a), Box::new(b));
        let result = match comparison {
            Some(comparison) => comparable(comparison, left_kind, right_kind)
                .then(|| (Node::Compare(comparison, a, b), Type::Bool)),
            None => {
                computed(operator, left_kind, right_kind).map(|kind| (Node::Arithmetic(operator, a, b), kind))
            }
        };
        result.ok_or_else(|| {
            let note = format!("{}{}", note(left, left_kind), note(right, right_kind));
            CompileError::at(ast.at, format!("the operator does not take {left_kind} and {right_kind}{note}"))
        })
    }

    /// `a.b | c` is `a.b` where that is there, `m["k"] | c` is `m["k"]` where there is such a key; any other
    /// operand ends the list.
    fn pick(&mut self, ast: &Ast, operands: &[Ast]) -> Checked {
        let Some((last, others)) = operands.split_last() else {
            return Err(CompileError::at(ast.at, "expected an operand"));
        };
        let (mut picked, kind) = self.check(last)?;
        for operand in others.iter().rev() {
            let (node, operand_kind) = self.check(operand)?;
            if operand_kind != kind {
                return Err(CompileError::at(
                    operand.at,
                    format!(
                        "both sides of | must be alike: {operand_kind} and {kind}{}{}",
                        note(operand, operand_kind),
                        note(last, kind)
                    ),
                ));
            }
            picked = match self.presence(operand)? {
                Some(there) => Node::If(Box::new(there), Box::new(node), Box::new(picked)),
                None => node,
            };
        }
        Ok((picked, kind))
    }

    /// The test for an operand that may not be there.
    fn presence(&mut self, ast: &Ast) -> Result<Option<Node>, CompileError> {
        Ok(match &ast.kind {
            Kind::Select(..) => {
                let (attribute, kind) = attribute(ast)?;
                Some(Node::HasAttribute(attribute, kind))
            }
            Kind::Index(of, index) => match self.check(of)? {
                (map, Type::Map) => Some(Node::HasEntry(Box::new(map), self.key(index)?)),
                _ => None,
            },
            _ => None,
        })
    }

    fn call(&mut self, ast: &Ast, name: &str, receiver: Option<&Ast>, arguments: &[Ast]) -> Checked {
        match (name, receiver, arguments) {
            ("conditional", None, [condition, yes, no]) => {
                let condition = self.expect(condition, Type::Bool)?;
                let (yes, kind) = self.check(yes)?;
                let no = self.expect(no, kind)?;
                return Ok((Node::If(condition, Box::new(yes), no), kind));
            }
            ("has", None, [of]) if matches!(of.kind, Kind::Select(..)) => {
                let (attribute, kind) = attribute(of)?;
                return Ok((Node::HasAttribute(attribute, kind), Type::Bool));
            }
            _ => {}
        }
        let all: Vec<&Ast> = receiver.into_iter().chain(arguments).collect();
        let mut nodes = Vec::with_capacity(all.len());
        let mut kinds = Vec::with_capacity(all.len());
        for argument in &all {
            let (node, kind) = self.check(argument)?;
            nodes.push(node);
            kinds.push(kind);
        }
        let named = || SIGNATURES.iter().filter(|signature| signature.name == name);
        if named().next().is_none() {
            let names = SIGNATURES.iter().map(|signature| signature.name);
            let error = CompileError::at(ast.at, format!("there is no function {name}"));
            return Err(error.or_meant(nearest(name, names)));
        }
        let form = |signature: &&crate::functions::Signature| signature.form.allows(receiver.is_some());
        let Some(signature) = named().filter(form).find(|signature| signature.arguments == kinds) else {
            let found: Vec<String> =
                all.iter().zip(&kinds).map(|(ast, kind)| format!("{kind}{}", note(ast, *kind))).collect();
            let method = if receiver.is_some() { "method" } else { "function" };
            return Err(CompileError::at(
                ast.at,
                format!("the {method} {name} does not take ({})", found.join(", ")),
            ));
        };
        self.changes |= signature.function.changes();
        if signature.function == Function::Matches
            && let Node::String(text) = &nodes[0]
        {
            let regex = String::from_utf8_lossy(text);
            let regex = pattern::compile(&regex).map_err(|reason| {
                CompileError::at(all[0].at, format!("{regex:?} is not a regular expression: {reason}"))
            })?;
            return Ok((Node::Matches(Box::new(regex), Box::new(nodes.remove(1))), Type::Bool));
        }
        Ok((Node::Call(signature.function, nodes.into()), signature.result))
    }
}

fn comparable(comparison: Comparison, a: Type, b: Type) -> bool {
    let ordered =
        matches!(a, Type::Bool | Type::Int | Type::Double | Type::String | Type::Timestamp | Type::Duration);
    let equality = ordered || matches!(a, Type::Ip | Type::Email | Type::Uri | Type::DnsName);
    a == b
        && match comparison {
            Comparison::Equal | Comparison::NotEqual => equality,
            _ => ordered,
        }
}

/// The type of an operator's result.
fn computed(operator: Binary, a: Type, b: Type) -> Option<Type> {
    Some(match (operator, a, b) {
        (_, Type::Int, Type::Int) => Type::Int,
        (Binary::Remainder, ..) => return None,
        (_, Type::Double, Type::Double) => Type::Double,
        (Binary::Add, Type::String, Type::String) => Type::String,
        (Binary::Add | Binary::Subtract, Type::Duration, Type::Duration)
        | (Binary::Subtract, Type::Timestamp, Type::Timestamp) => Type::Duration,
        (Binary::Add | Binary::Subtract, Type::Timestamp, Type::Duration)
        | (Binary::Add, Type::Duration, Type::Timestamp) => Type::Timestamp,
        _ => return None,
    })
}

/// The attribute that a chain of names stands for.
fn attribute(ast: &Ast) -> Result<(Attribute, Type), CompileError> {
    fn path(ast: &Ast, out: &mut String) -> Result<(), CompileError> {
        match &ast.kind {
            Kind::Name(name) => out.push_str(name),
            Kind::Select(of, name) => {
                path(of, out)?;
                out.push('.');
                out.push_str(name);
            }
            _ => return Err(CompileError::at(ast.at, "only attributes have parts")),
        }
        Ok(())
    }
    let mut name = String::new();
    path(ast, &mut name)?;
    attributes::named(&name).ok_or_else(|| {
        let within = format!("{name}.");
        match attributes::names().find(|known| known.starts_with(&within)) {
            Some(known) => CompileError::at(ast.at, format!("{name} is no attribute, but {known} is one")),
            None => CompileError::at(ast.at, format!("there is no attribute {name}")).or_meant(meant(&name)),
        }
    })
}

/// The attribute that differs from `name` in one part, and there only a little.
fn meant(name: &str) -> Option<&'static str> {
    let near = nearest(name, attributes::names())?;
    let within = |text: &str| text.rfind('.').map_or(0, |dot| dot + 1);
    let same = within(name).min(within(near));
    let alike = name.get(..same) == near.get(..same);
    (!alike || nearest(&name[same..], [&near[same..]]).is_some()).then_some(near)
}

/// Why a text may not have the type that it seems to have.
fn note(ast: &Ast, kind: Type) -> String {
    match &ast.kind {
        Kind::String(text) if kind == Type::Duration => {
            format!(" (a text such as {text:?} is read as a duration)")
        }
        _ => String::new(),
    }
}
