//! Identifiers that travel: in logs, in views, between processes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A new identifier for what other engines know by one; later ones sort after earlier ones.
pub fn new_uuid() -> String {
    uuid::Uuid::now_v7().to_string()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// A new identifier; later ones sort after earlier ones.
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7().simple().to_string())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

id! {
    /// One run of a statement.
    QueryId
}
id! {
    /// One life of an executor process: a restarted executor is a new one.
    ExecutorId
}
