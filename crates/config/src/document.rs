//! One file while it is being checked: its tree, and where in it something is.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::decode::{Decoder, MAX_PROBLEMS, Notice, nearest};
use crate::features::Feature;
use crate::problem::{Excerpt, Problem, Problems, Severity, shortened};
use crate::tree::{Kind, NodeId, SyntaxError, Tree};

/// What was found wrong so far, in all files.
#[derive(Default)]
pub(crate) struct Findings {
    strict: bool,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    problems: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Inner {
    fn count(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        }
    }
}

impl Findings {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, inner: RefCell::default() }
    }

    /// Records a problem, which is only worked out if there is room for it; whether there is room for
    /// another of its kind.
    pub(crate) fn add(&self, severity: Severity, problem: impl FnOnce() -> Problem) -> bool {
        let mut inner = self.inner.borrow_mut();
        let count = inner.count(severity);
        *count += 1;
        let count = *count;
        if count <= MAX_PROBLEMS {
            let problem = problem();
            inner.problems.push(Problem { message: shortened(problem.message), ..problem });
        }
        count < MAX_PROBLEMS
    }

    /// Whether another problem would be listed.
    fn has_room(&self, severity: Severity) -> bool {
        *self.inner.borrow_mut().count(severity) < MAX_PROBLEMS
    }

    /// Counts problems that nothing more is known of.
    fn add_unseen(&self, severity: Severity, number: usize) {
        *self.inner.borrow_mut().count(severity) += number;
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.inner.borrow().errors > 0
    }

    /// Everything found, errors first, then in the order of the file, with a last word on what did
    /// not fit.
    pub(crate) fn into_problems(self, file: &Path) -> Vec<Problem> {
        let Inner { mut problems, errors, warnings } = self.inner.into_inner();
        problems.sort_by(|a, b| {
            let key = |problem: &Problem| {
                (std::cmp::Reverse(problem.severity), problem.file != file, problem.line, problem.column)
            };
            key(a).cmp(&key(b)).then_with(|| a.file.cmp(&b.file))
        });
        for (severity, count) in [(Severity::Error, errors), (Severity::Warning, warnings)] {
            if count > MAX_PROBLEMS {
                let message = format!("{} more {severity}s", count - MAX_PROBLEMS);
                problems.push(Problem::of_file(file, severity, message));
            }
        }
        problems
    }
}

/// A file that could be read.
pub(crate) struct Document<'t, 'a> {
    pub(crate) file: PathBuf,
    pub(crate) tree: &'t Tree<'a>,
    pub(crate) decoder: Decoder<'t, 'a>,
    pub(crate) findings: &'t Findings,
}

/// A problem with a file as text.
pub(crate) fn syntax_problem(file: &Path, error: SyntaxError) -> Problem {
    Problem {
        line: error.place.line,
        column: error.place.column,
        ..Problem::of_file(file, Severity::Error, error.message)
    }
}

impl<'t, 'a> Document<'t, 'a> {
    pub(crate) fn new(file: PathBuf, tree: &'t Tree<'a>, findings: &'t Findings) -> Self {
        Self { file, tree, decoder: Decoder::new(tree), findings }
    }

    /// The root, or a value that stands for itself, like one cluster of many.
    pub(crate) fn at(&self, node: NodeId) -> At<'_> {
        At { document: self, node, parent: None, step: Step::Unit }
    }

    /// Decodes the value at `node`, reporting what is wrong in it.
    pub(crate) fn decode<T: Deserialize<'a>>(&self, node: NodeId) -> Option<T> {
        let value = self.decoder.decode(node, |node, message| self.add(node, Severity::Error, message, None));
        self.report_notices();
        value
    }

    /// The value under `keys` from `node` on, if every key is there.
    pub(crate) fn find(&self, node: NodeId, keys: &[&str]) -> Option<NodeId> {
        keys.iter().try_fold(node, |node, key| self.field(node, key))
    }

    fn field(&self, node: NodeId, name: &str) -> Option<NodeId> {
        self.tree.find(node, name)
    }

    fn report_notices(&self) {
        let (notices, more) = self.decoder.take_notices();
        let unknown = if self.findings.strict { Severity::Error } else { Severity::Warning };
        for notice in notices {
            match notice {
                Notice::UnknownKey { key, nearest } => {
                    self.add(key, unknown, "unknown key".to_owned(), nearest.map(str::to_owned));
                }
                Notice::NoEffect { value } => {
                    self.add(value, Severity::Warning, "has no effect".to_owned(), None);
                }
            }
        }
        self.findings.add_unseen(unknown, more);
    }

    fn add(&self, node: NodeId, severity: Severity, message: String, suggestion: Option<String>) -> bool {
        self.findings.add(severity, || {
            let place = self.tree.place(node);
            Problem {
                path: self.tree.path(Tree::ROOT, node),
                line: place.line,
                column: place.column,
                suggestion,
                ..Problem::of_file(&self.file, severity, message)
            }
        })
    }
}

/// A place in a document, described from a value that was decoded on its own.
///
/// Kept on the stack while that value is translated, and only worked out when there is something to say.
#[derive(Clone, Copy)]
pub(crate) struct At<'s> {
    document: &'s Document<'s, 's>,
    node: NodeId,
    parent: Option<&'s At<'s>>,
    step: Step<'s>,
}

#[derive(Clone, Copy)]
enum Step<'s> {
    Unit,
    Key(&'s str),
    Index(usize),
}

impl<'s> At<'s> {
    /// Under a key.
    pub(crate) fn key<'k: 'c, 'c>(&'c self, key: &'k str) -> At<'c> {
        At { document: self.document, node: self.node, parent: Some(self), step: Step::Key(key) }
    }

    /// In an array.
    pub(crate) fn index<'c>(&'c self, index: usize) -> At<'c> {
        At { document: self.document, node: self.node, parent: Some(self), step: Step::Index(index) }
    }

    pub(crate) fn error(&self, message: impl Into<String>) {
        self.report(Severity::Error, message.into(), || None, || None);
    }

    pub(crate) fn warning(&self, message: impl Into<String>) {
        self.report(Severity::Warning, message.into(), || None, || None);
    }

    /// Something wrong at one place of a text, in bytes; `meant` is what should probably stand there.
    pub(crate) fn fault(&self, text: &str, offset: usize, message: impl Into<String>, meant: Option<&str>) {
        let suggestion = || meant.map(str::to_owned);
        self.report(Severity::Error, message.into(), suggestion, || Some(Excerpt::around(text, offset)));
    }

    /// A name that is not one of those there are.
    pub(crate) fn unknown<'n>(
        &self,
        severity: Severity,
        message: impl Into<String>,
        name: &str,
        names: impl IntoIterator<Item = &'n str>,
    ) {
        self.report(severity, message.into(), || nearest(name, names).map(str::to_owned), || None);
    }

    /// Whether this build has `feature`; if not, that is an error here.
    pub(crate) fn needs(&self, feature: Feature) -> bool {
        let built = feature.is_built();
        if !built {
            self.error(format!("understood, but this build has no {feature} yet"));
        }
        built
    }

    /// The problems of another file that a value here names.
    pub(crate) fn add_all(&self, problems: Problems) {
        for problem in problems.0 {
            self.document.findings.add(problem.severity, || problem);
        }
    }

    /// Decodes the value here, if there is one, only to report what is wrong in it.
    pub(crate) fn check_shape<T: DeserializeOwned>(&self) {
        if let Some((node, missing)) = self.resolve()
            && missing.is_empty()
        {
            self.document.decode::<T>(node);
        }
    }

    fn path_of(&self, node: NodeId, missing: &str) -> String {
        let mut path = self.document.tree.path(Tree::ROOT, node);
        path.push_str(if path.is_empty() { missing.trim_start_matches('.') } else { missing });
        path
    }

    fn report(
        &self,
        severity: Severity,
        message: String,
        suggestion: impl FnOnce() -> Option<String>,
        excerpt: impl FnOnce() -> Option<Excerpt>,
    ) {
        let findings = self.document.findings;
        if !findings.has_room(severity) {
            return findings.add_unseen(severity, 1);
        }
        let Some((node, missing)) = self.resolve() else { return };
        findings.add(severity, || {
            let place = self.document.tree.place(node);
            Problem {
                path: self.path_of(node, &missing),
                line: place.line,
                column: place.column,
                suggestion: suggestion(),
                excerpt: excerpt().map(Box::new),
                ..Problem::of_file(&self.document.file, severity, message)
            }
        });
    }

    /// The nearest value that is there, and the rest of the path; `None` if it was wrong already, and
    /// need not be so twice.
    fn resolve(&self) -> Option<(NodeId, String)> {
        let mut steps = Vec::new();
        let mut at = Some(self);
        while let Some(here) = at {
            steps.push(here.step);
            at = here.parent;
        }
        steps.reverse();
        let document = self.document;
        let mut node = self.node;
        let mut missing = String::new();
        for step in steps {
            if document.decoder.is_pruned(node) {
                return None;
            }
            let next = match step {
                Step::Unit => Some(node),
                _ if !missing.is_empty() => None,
                Step::Key(key) => document.field(node, key),
                Step::Index(index) if document.tree.kind(node) == Kind::Array => {
                    document.tree.elements(node).nth(index)
                }
                Step::Index(_) => None,
            };
            match (next, step) {
                (Some(next), _) => node = next,
                (None, Step::Key(key)) => {
                    missing.push('.');
                    missing.push_str(key);
                }
                (None, Step::Index(index)) => {
                    let _ = write!(missing, "[{index}]");
                }
                (None, Step::Unit) => {}
            }
        }
        (!document.decoder.is_pruned(node)).then_some((node, missing))
    }
}
