//! `gemini-pool clients`, on a running and on a stopped pool.

use super::*;

fn run(setup: &Setup, arguments: &[&str], input: &str) -> (bool, String, String) {
    let output = setup.run(arguments, input);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn an_access_key_is_made_changed_replaced_and_revoked_by_hand() {
    let google = google().await;
    let setup = Setup::new(&google, &["AIza-good-1"]);
    // On a stopped pool.
    let arguments =
        ["clients", "create", "--name", "my app", "--requests-per-minute", "2", "--model", "gemini-2.5-*"];
    let (well, made, said) = run(&setup, &arguments, "");
    assert!(well, "{said}");
    let made = made.trim().to_owned();
    assert!(made.starts_with("gp-") && !said.contains(&made), "{said}");
    let server = setup.clone().start();
    let app = server.app_with(Some(&made));
    assert_eq!([asks(&app).await.0, asks(&app).await.0, asks(&app).await.0], [200, 200, 429]);
    // On a running one.
    let id = "1";
    let (well, set, said) =
        run(&setup, &["clients", "set", id, "--requests-per-minute", "none", "--json"], "");
    assert!(well, "{said}");
    assert_eq!(serde_json::from_str::<Value>(&set).unwrap()["requests_per_minute"], Value::Null);
    assert_eq!(asks(&app).await.0, 200);
    let (well, list, _) = run(&setup, &["clients", "list", "--json"], "");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert!(
        well && list["allowed_keys"][0]["name"] == "my app" && list["allowed_keys"][1]["origin"] == "env"
    );
    assert!(!list.to_string().contains(&made));
    let (well, table, _) = run(&setup, &["clients", "list", "--search", "MY A"], "");
    assert!(well && table.contains("gemini-2.5-*") && table.lines().count() == 2, "{table}");
    let own = "a-secret-of-my-own-0001";
    let (well, told, said) = run(&setup, &["clients", "rotate", id, "--secret-stdin"], &format!("{own}\n"));
    assert!(well && !told.contains(own) && !said.contains(own), "{told}{said}");
    assert_eq!(asks(&app).await.1, "CLIENT_KEY_INVALID");
    assert_eq!(asks(&server.app_with(Some(own))).await.0, 200);
    let (well, _, said) = run(&setup, &["clients", "revoke", id], "");
    assert!(well, "{said}");
    assert_eq!(asks(&server.app_with(Some(own))).await.1, "CLIENT_KEY_INVALID");
    let (well, _, said) = run(&setup, &["clients", "set", "9", "--enable"], "");
    assert!(!well && said.contains("there is no access key 9"), "{said}");
}
