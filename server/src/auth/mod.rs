//! Who may sign in, and how: the rules of the configuration, and what slows down guessing.

mod guard;
mod rules;

pub use guard::SignInGuard;
pub use rules::{Peer, method};
