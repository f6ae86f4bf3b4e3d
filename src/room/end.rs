//! Why a room ends, in the words that its clients, the metrics and the log share.

use std::borrow::Cow;

use super::close::Close;
use super::live::Order;
use crate::child::{Exit, StartError};

/// Why a room ends: what its clients read, what the metrics count, how its child ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) close: Close,
    pub(super) label: Cow<'static, str>,
    pub(super) exit: Option<Exit>,
}

impl End {
    pub(super) fn new(close: Close, label: impl Into<Cow<'static, str>>) -> Self {
        End {
            close,
            label: label.into(),
            exit: None,
        }
    }

    /// By the server's order.
    pub(super) fn ordered(order: &Order, exit: Option<Exit>) -> Self {
        match order {
            Order::End(close, label) => End {
                exit,
                ..End::new(close.clone(), *label)
            },
            Order::Live => End::new(Close::new(Close::GOING_AWAY, "ended"), "ended"),
        }
    }

    /// The same end, with a child that ended so.
    pub(super) fn after(self, exit: Exit) -> Self {
        End {
            exit: Some(exit),
            ..self
        }
    }

    /// The child's output cannot be read on.
    pub(super) fn broken(reason: String) -> Self {
        End::new(Close::new(Close::ERROR, reason), "bad_output")
    }

    pub(super) fn exited(exit: Exit) -> Self {
        let code = match exit {
            Exit::Code(0) | Exit::Closed => Close::OK,
            Exit::Code(_) | Exit::Signal(_) | Exit::Over(_) => Close::ERROR,
        };
        let reason = exit.to_string();
        End {
            close: Close::new(code, reason.clone()),
            label: reason.into(),
            exit: Some(exit),
        }
    }

    /// How the program failed, if that was the end.
    pub(super) fn failure(&self) -> Option<Exit> {
        let own = self.close.code == Close::ERROR && self.label != "bad_output";
        self.exit.filter(|exit| own && is_failure(*exit))
    }

    pub(super) fn cannot_start(error: &StartError) -> Self {
        // No fault of the program, so another try may do, and nothing counts as a crash.
        let code = match error {
            StartError::Exhausted(_) => Close::TRY_LATER,
            _ => Close::ERROR,
        };
        End {
            close: Close::new(code, format!("cannot start: {error}")),
            label: "cannot_start".into(),
            exit: Some(Exit::Code(error.shell_status().into())),
        }
    }
}

/// Whether a program failed, however.
pub(super) fn is_failure(exit: Exit) -> bool {
    !matches!(exit, Exit::Code(0) | Exit::Closed)
}
