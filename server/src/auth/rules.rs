//! The first rule that fits a connection decides how its client shows who it is.

use std::net::IpAddr;

use engine::Network;
use engine::config::{AuthConfig, AuthMethod, AuthRule, RuleConnection};

/// What is known of a client before it has shown who it is.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub is_encrypted: bool,
}

/// The method for `user` at `peer`. A client that no rule fits is rejected.
pub fn method(config: &AuthConfig, peer: &Peer, user: &str) -> AuthMethod {
    let fits = |rule: &&AuthRule| {
        let connection = match rule.connection {
            RuleConnection::Host => true,
            RuleConnection::HostSsl => peer.is_encrypted,
            RuleConnection::HostNoSsl => !peer.is_encrypted,
        };
        let address = rule.address == "all"
            || rule.address.parse::<Network>().is_ok_and(|network| network.contains(peer.address));
        connection && address && (rule.user == "all" || rule.user == user)
    };
    config.rules.iter().find(fits).map_or(AuthMethod::Reject, |rule| rule.method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_trusted_and_others_need_a_password() {
        let config = AuthConfig::default();
        let peer = |address: &str| Peer { address: address.parse().expect("an address"), is_encrypted: true };
        assert_eq!(method(&config, &peer("127.0.0.1"), "postgres"), AuthMethod::Trust);
        assert_eq!(method(&config, &peer("::1"), "postgres"), AuthMethod::Trust);
        assert_eq!(method(&config, &peer("192.0.2.7"), "postgres"), AuthMethod::ScramSha256);
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rule = |connection, user: &str, method| AuthRule {
            connection,
            user: user.into(),
            address: "all".into(),
            method,
        };
        let config = AuthConfig {
            rules: vec![
                rule(RuleConnection::HostNoSsl, "all", AuthMethod::Reject),
                rule(RuleConnection::HostSsl, "robot", AuthMethod::Certificate),
            ],
            ..AuthConfig::default()
        };
        let mut peer = Peer { address: "192.0.2.7".parse().expect("an address"), is_encrypted: false };
        assert_eq!(method(&config, &peer, "robot"), AuthMethod::Reject);
        peer.is_encrypted = true;
        assert_eq!(method(&config, &peer, "robot"), AuthMethod::Certificate);
        assert_eq!(method(&config, &peer, "someone"), AuthMethod::Reject);
    }
}
