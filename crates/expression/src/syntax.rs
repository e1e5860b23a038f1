//! Go's expression syntax, as far as the language uses it.

use crate::CompileError;

/// A part of an expression, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ast {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Int(i64),
    Double(f64),
    String(String),
    Name(String),
    Select(Box<Ast>, String),
    Index(Box<Ast>, Box<Ast>),
    /// The name, the receiver of a method, the arguments.
    Call(String, Option<Box<Ast>>, Vec<Ast>),
    Unary(Unary, Box<Ast>),
    Binary(Binary, Box<Ast>, Box<Ast>),
    /// `a | b | c`: the first that is there.
    Pick(Vec<Ast>),
    /// A `Pick` in parentheses, which is one operand of another.
    Parentheses(Box<Ast>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Not,
    Minus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Pick,
    Multiply,
    Divide,
    Remainder,
}

impl Binary {
    /// Go's: `|` binds like `+`, and so tighter than a comparison.
    const ALL: [(&'static str, u8, Self); 14] = [
        ("||", 1, Self::Or),
        ("&&", 2, Self::And),
        ("==", 3, Self::Equal),
        ("!=", 3, Self::NotEqual),
        ("<=", 3, Self::LessOrEqual),
        (">=", 3, Self::GreaterOrEqual),
        ("<", 3, Self::Less),
        (">", 3, Self::Greater),
        ("+", 4, Self::Add),
        ("-", 4, Self::Subtract),
        ("|", 4, Self::Pick),
        ("*", 5, Self::Multiply),
        ("/", 5, Self::Divide),
        ("%", 5, Self::Remainder),
    ];
}

/// More parts than this make no expression that a person wrote, and every part is a step down when it
/// is evaluated.
const MAX_PARTS: usize = 500;
/// Parentheses, calls and the like within each other.
const MAX_DEPTH: usize = 64;

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Ast, CompileError> {
    let mut parser = Parser { text, at: 0, parts: 0, depth: 0 };
    let ast = parser.binary(1)?;
    parser.space();
    match parser.rest().chars().next() {
        None => Ok(ast),
        Some(found) => Err(CompileError::at(parser.at, format!("expected an operator, found {found:?}"))),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    parts: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// Takes `token`, which no part of a longer word may be.
    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), CompileError> {
        if self.take(token) {
            return Ok(());
        }
        let found = match self.rest().chars().next() {
            Some(found) => format!("{found:?}"),
            None => "the end".to_owned(),
        };
        Err(CompileError::at(self.at, format!("expected {token:?}, found {found}")))
    }

    fn part(&mut self, at: usize, kind: Kind) -> Result<Ast, CompileError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(CompileError::at(at, "the expression has too many parts"));
        }
        Ok(Ast { at, kind })
    }

    fn binary(&mut self, least: u8) -> Result<Ast, CompileError> {
        let mut left = self.unary()?;
        loop {
            self.space();
            let rest = self.rest();
            let found = Binary::ALL.iter().find(|(token, ..)| rest.starts_with(token));
            let Some(&(token, precedence, operator)) =
                found.filter(|(_, precedence, _)| *precedence >= least)
            else {
                return Ok(left);
            };
            let at = self.at;
            self.at += token.len();
            let right = self.binary(precedence + 1)?;
            let kind = match operator {
                Binary::Pick => Kind::Pick([operands(left), operands(right)].concat()),
                _ => Kind::Binary(operator, Box::new(left), Box::new(right)),
            };
            left = self.part(at, kind)?;
        }
    }

    fn unary(&mut self) -> Result<Ast, CompileError> {
        self.space();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(CompileError::at(self.at, "the expression is nested too deeply"));
        }
        let operand = self.operand();
        self.depth -= 1;
        operand
    }

    fn operand(&mut self) -> Result<Ast, CompileError> {
        let at = self.at;
        for (token, operator) in [("!", Unary::Not), ("-", Unary::Minus)] {
            if self.take(token) {
                let operand = self.unary()?;
                return self.part(at, Kind::Unary(operator, Box::new(operand)));
            }
        }
        let mut part = self.primary()?;
        loop {
            if self.take(".") {
                self.space();
                let name = self.word().to_owned();
                if name.is_empty() {
                    return Err(CompileError::at(self.at, "expected a name after \".\""));
                }
                let kind = if self.take("(") {
                    Kind::Call(name, Some(Box::new(part)), self.arguments()?)
                } else {
                    Kind::Select(Box::new(part), name)
                };
                part = self.part(at, kind)?;
            } else if self.take("[") {
                let index = self.binary(1)?;
                self.expect("]")?;
                part = self.part(at, Kind::Index(Box::new(part), Box::new(index)))?;
            } else {
                return Ok(part);
            }
        }
    }

    fn primary(&mut self) -> Result<Ast, CompileError> {
        self.space();
        let at = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Err(CompileError::at(at, "expected a value, found the end"));
        };
        let kind = match first {
            '(' => {
                self.at += 1;
                let inner = self.binary(1)?;
                self.expect(")")?;
                return match inner.kind {
                    Kind::Pick(_) => self.part(at, Kind::Parentheses(Box::new(inner))),
                    _ => Ok(inner),
                };
            }
            '"' => Kind::String(self.string()?),
            '0'..='9' => self.number()?,
            _ => {
                let name = self.word();
                if name.is_empty() {
                    return Err(CompileError::at(at, format!("expected a value, found {first:?}")));
                }
                if self.take("(") {
                    let arguments = self.arguments()?;
                    match name {
                        "pick" => Kind::Pick(arguments),
                        _ => Kind::Call(name.to_owned(), None, arguments),
                    }
                } else {
                    Kind::Name(name.to_owned())
                }
            }
        };
        self.part(at, kind)
    }

    /// After the opening parenthesis.
    fn arguments(&mut self) -> Result<Vec<Ast>, CompileError> {
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.binary(1)?);
            if self.take(")") {
                return Ok(arguments);
            }
            self.expect(",")?;
            if self.take(")") {
                return Ok(arguments);
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let inner = |c: char| c == '_' || c.is_alphanumeric();
        let len = rest.find(|c| !inner(c)).unwrap_or(rest.len());
        if rest.starts_with(|c: char| c.is_numeric()) {
            return "";
        }
        self.at += len;
        &rest[..len]
    }

    fn number(&mut self) -> Result<Kind, CompileError> {
        let at = self.at;
        let rest = self.rest();
        let mut len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        if !hexadecimal && rest[..len].ends_with(['e', 'E']) && rest[len..].starts_with(['+', '-']) {
            let exponent = &rest[len + 1..];
            len += 1 + exponent.find(|c: char| !c.is_ascii_digit()).unwrap_or(exponent.len());
        }
        self.at += len;
        let text = &rest[..len];
        let number = if hexadecimal {
            i64::from_str_radix(&text[2..], 16).ok().map(Kind::Int)
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().ok().map(Kind::Int)
        } else {
            text.parse().ok().map(Kind::Double)
        };
        number.ok_or_else(|| CompileError::at(at, format!("{text:?} is not a number")))
    }

    fn string(&mut self) -> Result<String, CompileError> {
        let at = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        let unfinished = || CompileError::at(at, "the text has no end");
        loop {
            match chars.next().ok_or_else(unfinished)? {
                (end, '"') => {
                    self.at += end + 1;
                    return Ok(text);
                }
                (_, '\n') => return Err(unfinished()),
                (escape, '\\') => {
                    let (_, kind) = chars.next().ok_or_else(unfinished)?;
                    let mut code = |digits: usize, radix| {
                        let digits: String = chars.by_ref().take(digits).map(|(_, char)| char).collect();
                        u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
                    };
                    let char = match kind {
                        'a' => Some('\x07'),
                        'b' => Some('\x08'),
                        'f' => Some('\x0c'),
                        'n' => Some('\n'),
                        'r' => Some('\r'),
                        't' => Some('\t'),
                        'v' => Some('\x0b'),
                        '\\' | '"' => Some(kind),
                        'x' => code(2, 16),
                        'u' => code(4, 16),
                        'U' => code(8, 16),
                        _ => None,
                    };
                    text.push(char.ok_or_else(|| {
                        CompileError::at(at + escape, format!("unknown escape \\{kind} in a text"))
                    })?);
                }
                (_, char) => text.push(char),
            }
        }
    }
}

/// What an operand of `|` adds to the list: `a | b | c` is one, and `(a | b) | c` is not.
fn operands(operand: Ast) -> Vec<Ast> {
    match operand.kind {
        Kind::Pick(operands) => operands,
        _ => vec![operand],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As CEL would print it.
    fn print(ast: &Ast) -> String {
        let list = |parts: &[Ast]| parts.iter().map(print).collect::<Vec<_>>().join(",");
        match &ast.kind {
            Kind::Int(number) => number.to_string(),
            Kind::Double(number) => format!("{number:?}"),
            Kind::String(text) => format!("{text:?}"),
            Kind::Name(name) => name.clone(),
            Kind::Select(of, name) => format!("{}.{name}", print(of)),
            Kind::Index(of, index) => format!("{}[{}]", print(of), print(index)),
            Kind::Call(name, None, arguments) => format!("{name}({})", list(arguments)),
            Kind::Call(name, Some(of), arguments) => format!("{}.{name}({})", print(of), list(arguments)),
            Kind::Unary(operator, operand) => format!("({operator:?} {})", print(operand)),
            Kind::Binary(operator, a, b) => format!("({} {operator:?} {})", print(a), print(b)),
            Kind::Pick(parts) => format!("pick({})", list(parts)),
            Kind::Parentheses(inner) => print(inner),
        }
    }

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(ast) => print(&ast),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn operators_bind_as_in_go() {
        for (text, expected) in [
            (r#"a | "x" == "y""#, r#"(pick(a,"x") Equal "y")"#),
            ("a || b && !c", "(a Or (b And (Not c)))"),
            ("1 + 2 * 3 - 4 % 5", "((1 Add (2 Multiply 3)) Subtract (4 Remainder 5))"),
            ("a.b.c | d[\"e\"] | f(1)", "pick(a.b.c,d[\"e\"],f(1))"),
            ("(a | b) | c", "pick(pick(a,b),c)"),
            ("a | pick(b, c)", "pick(a,b,c)"),
            ("a - -1.5e+3 < 0x10", "((a Subtract (Minus 1500.0)) Less 16)"),
            ("ctx.f(\"a\", b,)", "ctx.f(\"a\",b)"),
            (r#""\t\"\u00e9\x41""#, "\"\\t\\\"\u{e9}A\""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_says_where() {
        for (text, expected) in [
            ("", "at column 1: expected a value, found the end"),
            ("a ==", "at column 5: expected a value, found the end"),
            ("a b", "at column 3: expected an operator, found 'b'"),
            ("a ? b : c", "at column 3: expected an operator, found '?'"),
            ("'a'", "at column 1: expected a value, found '\\''"),
            ("f(a", "at column 4: expected \",\", found the end"),
            ("a[1", "at column 4: expected \"]\", found the end"),
            ("\"a", "at column 1: the text has no end"),
            (r#""\q""#, "at column 2: unknown escape \\q in a text"),
            ("1x", "at column 1: \"1x\" is not a number"),
            ("99999999999999999999", "at column 1: \"99999999999999999999\" is not a number"),
            ("a.", "at column 3: expected a name after \".\""),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        for text in ["(".repeat(100_000), "!".repeat(100_000), "a&&".repeat(100_000), "[".repeat(9)] {
            assert!(parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[a-c."'|&!=<>+*/%()\[\]0-9x\\ {é]{0,30}"#) {
            let _ = parse(&text);
        }
    }
}
