//! NATS servers that speak TLS alone, or to whoever proves who it is: what the directives say is what is shown to them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use sterna_tests::nats::Nats;
use sterna_tests::server::{Launch, Server, wait_for};
use sterna_tests::skipped;
use sterna_tests::tls::Authority;

use crate::tools::{figure, name};

/// One server with this in its configuration.
fn secured(config: &str) -> Option<Nats> {
    let nats = Nats::start_alone(config);
    if nats.is_none() {
        skipped("needs NATS_SERVER; ./test installs one");
    }
    nats
}

fn launch(url: &str, words: &[&str]) -> Launch {
    Launch::shards(2).args(&["--cluster-url", url, "--cluster-name", &name()]).args(words)
}

fn await_connected(node: &Server) {
    wait_for("the node to reach NATS", || {
        (figure(node, "cluster_state").as_deref() == Some("connected")).then_some(())
    });
}

/// Whoever has this is let in, and nobody else.
fn check_login(nats: &Nats, right: &[&str], wrong: &[&str]) {
    let url = nats.url(0);
    let refused = launch(&url, wrong).start();
    refused.await_log("NATS to refuse it", |log| log.to_lowercase().contains("authorization"));
    assert_ne!(figure(&refused, "cluster_nats_connects").as_deref(), Some("1"));
    await_connected(&launch(&url, right).start());
}

#[test]
fn a_user_with_a_password_and_a_token_are_shown() {
    let Some(nats) = secured("authorization { user: sterna, password: right }\n") else { return };
    let user = ["--cluster-user", "sterna", "--cluster-password"];
    check_login(&nats, &[&user[..], &["right"]].concat(), &[&user[..], &["wrong"]].concat());
    let Some(nats) = secured("authorization { token: right }\n") else { return };
    check_login(&nats, &["--cluster-password", "right"], &["--cluster-password", "wrong"]);
}

/// A file of the server's folder that says this.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("credentials");
    std::fs::write(&path, text).expect("it can be written");
    let path = path.display().to_string();
    (folder, path)
}

#[test]
fn a_key_of_nats_is_proved_to_be_there() {
    let (key, other) = (KeyPair::new_user(), KeyPair::new_user());
    let config = format!("authorization {{ users: [{{ nkey: {} }}] }}\n", key.public_key());
    let Some(nats) = secured(&config) else { return };
    let [right, wrong] = [key, other].map(|key| file(&format!("# a key\n{}\n", key.seed().expect("a seed"))));
    check_login(&nats, &["--cluster-credentials-file", &right.1], &["--cluster-credentials-file", &wrong.1]);
}

/// A token that says this of `subject`, signed by `issuer`. Source: the claims of github.com/nats-io/jwt, version 2.
fn jwt(issuer: &KeyPair, subject: &str, nats: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "jti": subject, "iat": 1, "iss": issuer.public_key(), "name": "t", "sub": subject, "nats": nats });
    let signed = format!("{}.{}", part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("it can sign");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_file_of_credentials_is_what_an_operator_has_issued() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let of_operator = jwt(&operator, &operator.public_key(), json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1
    });
    let of_account =
        jwt(&operator, &account.public_key(), json!({ "type": "account", "version": 2, "limits": limits }));
    let config = format!(
        "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}\n",
        account.public_key()
    );
    let Some(nats) = secured(&config) else { return };
    let limits = json!({ "subs": -1, "data": -1, "payload": -1 });
    let mut claims = json!({ "type": "user", "version": 2 });
    claims.as_object_mut().expect("claims").extend(limits.as_object().expect("limits").clone());
    let credentials = |issuer: &KeyPair| {
        let (token, seed) = (jwt(issuer, &user.public_key(), claims.clone()), user.seed().expect("a seed"));
        file(&format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        ))
    };
    let (right, wrong) = (credentials(&account), credentials(&KeyPair::new_account()));
    check_login(&nats, &["--cluster-credentials-file", &right.1], &["--cluster-credentials-file", &wrong.1]);
}

#[test]
fn nats_is_spoken_to_by_tls_and_only_if_its_certificate_and_ours_are_the_authoritys() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it can be written");
        path.display().to_string()
    };
    let (server, own, foreign) = (authority.identity(), authority.identity(), stranger.identity());
    let (ca, other_ca) = (write("ca", &authority.pem), write("other-ca", &stranger.pem));
    let [server, own, foreign] =
        [("server", server), ("own", own), ("foreign", foreign)].map(|(name, identity)| {
            [
                write(&format!("{name}.pem"), &identity.certificate),
                write(&format!("{name}.key"), &identity.key),
            ]
        });
    let config = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{ca}\", verify: true }}\n",
        server[0], server[1]
    );
    let Some(nats) = secured(&config) else { return };
    let (plain, by_scheme) = (nats.url(0), nats.url(0).replace("nats://", "tls://"));
    let shows = |[certificate, key]: &[String; 2]| {
        ["--cluster-tls-cert-file", certificate, "--cluster-tls-key-file", key].map(str::to_owned)
    };
    let start = |url: &str, ca: &str, identity: &[String; 2]| {
        let shown = shows(identity);
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        launch(url, &[&["--cluster-tls-ca-cert-file", ca], &shown[..]].concat()).start()
    };
    // An authority asks for TLS, whatever the scheme says.
    for url in [&plain, &by_scheme] {
        await_connected(&start(url, &ca, &own));
    }
    for (ca, identity) in [(&other_ca, &own), (&ca, &foreign)] {
        let node = start(&by_scheme, ca, identity);
        node.await_log("the handshake to fail", |log| log.contains("NATS client"));
        assert_ne!(figure(&node, "cluster_state").as_deref(), Some("connected"));
    }
}
