//! The chain: a client that follows it by heads and logs has the canonical chain of the truth, whatever
//! is repeated, reordered, left out or reorganised; and the answers of a node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use simulator::ethereum::settings::ChainSettings;
use simulator::ethereum::{Block, Chain, EthereumConfig, LogBody, Node, Step, answer};
use simulator::faults::Faults;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A test that has not seen what it waits for by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Every fault of a chain.
fn faulty() -> ChainSettings {
    ChainSettings {
        reorg_every: Some(7),
        reorg_back_every: Some(2),
        pending_every: Some(3),
        drop_pending_every: Some(4),
        skip_heads_every: Some(5),
        logs_first_every: Some(2),
        ..ChainSettings::default()
    }
}

/// The canonical chain as lines of the truth tell it, oldest first.
fn canonical(lines: &[String]) -> Result<Vec<Value>> {
    let (mut blocks, mut head) = (HashMap::new(), None);
    for line in lines {
        let line: Value = serde_json::from_str(line)?;
        if line["block"].is_u64() {
            blocks.insert(line["hash"].as_str().context("no hash")?.to_owned(), line);
        } else if let Some(hash) = line["head"].as_str() {
            head = Some(hash.to_owned());
        }
    }
    let mut chain = Vec::new();
    while let Some(block) = head.and_then(|hash| blocks.remove(&hash)) {
        head = block["parent_hash"].as_str().map(str::to_owned);
        chain.push(block);
    }
    chain.reverse();
    Ok(chain)
}

fn key(block: &Block) -> (u64, String) {
    (block.number, block.hash.clone())
}

#[test]
fn steps_and_the_truth_tell_the_same_chain_under_every_seed() -> Result<()> {
    for seed in 0..20 {
        let mut chain = Chain::new(seed, &faulty(), 1_700_000_000);
        chain.keep_lines();
        let (mut lines, mut held, mut returned) = (chain.take_lines(), BTreeMap::new(), 0);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let (mut removed, mut silent) = (0, 0);
        held.insert(chain.head().number, chain.head().hash.clone());
        for tick in 0..200 {
            let mut steps = chain.trade(3);
            steps.extend(chain.advance(1_700_000_000 + tick, true));
            for step in steps {
                match step {
                    Step::Pending(..) => {}
                    Step::Removed(block) => {
                        removed += 1;
                        let (number, hash) = key(&block);
                        ensure!(held.remove(&number) == Some(hash), "seed {seed}: {number}");
                    }
                    Step::Added { block, has_head, .. } => {
                        silent += u32::from(!has_head);
                        let (number, hash) = key(&block);
                        let parent = held.get(&(number - 1));
                        ensure!(parent == Some(&block.parent), "seed {seed}: {number}");
                        ensure!(
                            held.insert(number, hash.clone()).is_none(),
                            "seed {seed}: {number}"
                        );
                        let logs = block.logs.len();
                        if let Some(before) = seen.insert(hash, logs) {
                            returned += 1;
                            ensure!(before == logs, "a block came back with other logs");
                        }
                    }
                }
            }
            lines.extend(chain.take_lines());
        }
        let told = canonical(&lines)?;
        let hashes: Vec<&str> = told.iter().filter_map(|block| block["hash"].as_str()).collect();
        ensure!(hashes == held.values().map(String::as_str).collect::<Vec<_>>(), "seed {seed}");
        let mut transactions = BTreeSet::new();
        for block in &told {
            let swaps = block["swaps"].as_array().context("no swaps")?.iter();
            let here: BTreeSet<&str> = swaps.filter_map(|swap| swap["tx_hash"].as_str()).collect();
            for hash in here {
                ensure!(transactions.insert(hash.to_owned()), "{hash} is in two blocks");
            }
        }
        ensure!(removed > 20 && returned > 3 && silent > 20, "{removed} {returned} {silent}");
        ensure!(transactions.len() > 300, "{}", transactions.len());
    }
    Ok(())
}

#[test]
fn the_same_seed_makes_the_same_chain_and_another_one_another() {
    let made = |seed| {
        let mut chain = Chain::new(seed, &faulty(), 0);
        chain.keep_lines();
        for tick in 0..50 {
            chain.trade(4);
            chain.advance(tick, true);
        }
        chain.take_lines()
    };
    assert_eq!(made(3), made(3));
    assert_ne!(made(3), made(4));
}

/// The answer of a node to a request.
fn ask(chain: &Chain, method: &str, params: &Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let text = answer(chain, &request.to_string(), &mut || "0x1".into(), false, true).text;
    serde_json::from_str(&text).unwrap_or_default()
}

#[test]
fn a_node_answers_with_blocks_logs_and_facts_and_names_its_limits() -> Result<()> {
    let settings = ChainSettings { max_logs: 40, ..faulty() };
    let mut chain = Chain::new(1, &settings, 1_700_000_000);
    for tick in 0..60 {
        chain.trade(3);
        chain.advance(1_700_000_000 + tick, true);
    }
    let head = chain.head();
    let (number, hash) = (format!("{:#x}", head.number), head.hash.clone());
    ensure!(ask(&chain, "eth_chainId", &json!([]))["result"] == "0x1");
    ensure!(ask(&chain, "eth_blockNumber", &json!([]))["result"] == number.as_str());
    let block = &ask(&chain, "eth_getBlockByNumber", &json!([number, false]))["result"];
    ensure!(block["hash"] == hash.as_str() && block["parentHash"] == head.parent.as_str());
    ensure!(ask(&chain, "eth_getBlockByHash", &json!([hash, false]))["result"] == *block);
    ensure!(ask(&chain, "eth_getBlockByHash", &json!(["0x00", false]))["result"].is_null());

    let swaps = |block: &Block| {
        block.logs.iter().filter(|log| matches!(log.body, LogBody::Swap(_))).count()
    };
    let topics = json!([[
        "0xd78ad95fa46c994b6551d0da85fc275fe613ce37657fb8d5e3d130840159d822",
        "0xc42079f94a6350d7e6235f29174924f928cc2ac818eb64fed8004e115fbcca67"
    ]]);
    let of_hash = ask(&chain, "eth_getLogs", &json!([{"blockHash": hash, "topics": topics}]));
    ensure!(of_hash["result"].as_array().context("logs")?.len() == swaps(head));
    let range = json!([{"fromBlock": format!("{:#x}", head.number - 3), "toBlock": "latest", "topics": topics}]);
    let wanted: usize =
        (head.number - 3..=head.number).filter_map(|n| chain.block(n)).map(|b| swaps(b)).sum();
    let found = ask(&chain, "eth_getLogs", &range);
    ensure!(found["result"].as_array().context("logs")?.len() == wanted && wanted > 4);

    let code = |answer: &Value| answer["error"]["code"].as_i64();
    let all = ask(&chain, "eth_getLogs", &json!([{"fromBlock": "earliest", "toBlock": "latest"}]));
    ensure!(code(&all) == Some(-32_005), "{all}");
    ensure!(all["error"]["message"] == "query returned more than 40 results", "{all}");
    let backwards = json!([{"fromBlock": number, "toBlock": "0x1"}]);
    ensure!(code(&ask(&chain, "eth_getLogs", &backwards)) == Some(-32_000));
    ensure!(code(&ask(&chain, "eth_getLogs", &json!([{"blockHash": "0x00"}]))) == Some(-32_000));
    let both = json!([{"blockHash": hash, "fromBlock": number}]);
    ensure!(code(&ask(&chain, "eth_getLogs", &both)) == Some(-32_602));
    ensure!(code(&ask(&chain, "eth_mine", &json!([]))) == Some(-32_601));

    let call = |to: &str, data: &str| {
        ask(&chain, "eth_call", &json!([{"to": to, "data": data}, "latest"]))
    };
    let [v3, v2] = [&chain.pools()[0], &chain.pools()[2]];
    let token0 =
        call(&v3.address, "0x0dfe1681")["result"].as_str().map(|text| text[26..].to_owned());
    ensure!(token0.as_deref() == Some(&v3.token0.address[2..]));
    ensure!(call(&v3.address, "0xddca3f43")["result"] == format!("{:#066x}", v3.fee));
    // A pool of v2 has no fee().
    ensure!(code(&call(&v2.address, "0xddca3f43")) == Some(3));
    ensure!(call(&v3.token1.address, "0x313ce567")["result"] == format!("{:#066x}", 18));
    ensure!(call("0x00", "0x313ce567")["result"] == "0x");
    Ok(())
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    async fn open(url: &str) -> Result<Self> {
        let mut client = Self { socket: connect_async(url).await?.0 };
        client.say("eth_subscribe", &json!(["newHeads"])).await?;
        client.say("eth_subscribe", &json!(["logs", {}])).await?;
        Ok(client)
    }

    async fn say(&mut self, method: &str, params: &Value) -> Result<()> {
        let text =
            json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// The next text; `None` when the node has cut the connection.
    async fn hear(&mut self) -> Result<Option<String>> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.context("the node is silent")? {
                Some(Ok(Message::Text(text))) => return Ok(Some(text.to_string())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

fn config(faults: Faults, chain: &ChainSettings) -> EthereumConfig {
    let chain = ChainSettings { block_every: Duration::from_millis(20), ..chain.clone() };
    EthereumConfig { rate: 200, faults, chain, ..EthereumConfig::new(5) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_repeated_reordered_cut_and_removed_over_the_socket() -> Result<()> {
    let faults = Faults {
        repeat_every: Some(5),
        reorder_every: Some(7),
        malformed_every: Some(11),
        ..Faults::default()
    };
    let node = Node::bind("127.0.0.1:0", &config(faults, &ChainSettings::default())).await?;
    let (url, handle) = (node.url()?, node.handle());
    tokio::spawn(node.run());
    let mut client = Client::open(&url).await?;
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    let (mut malformed, mut unordered, mut removed, mut last, mut told) = (0, 0, 0, 0, false);
    while removed == 0 || malformed == 0 || unordered == 0 || seen.len() < 100 {
        let text = client.hear().await?.context("cut")?;
        let Ok(frame) = serde_json::from_str::<Value>(&text) else {
            malformed += 1;
            continue;
        };
        let result = &frame["params"]["result"];
        let Some(index) = result["logIndex"].as_str() else { continue };
        let place = |field: &str| {
            let text = result[field].as_str().unwrap_or_default().trim_start_matches("0x");
            u64::from_str_radix(text, 16).unwrap_or_default()
        };
        if result["removed"] == true {
            removed += 1;
            continue;
        }
        let now = place("blockNumber") * 10_000 + place("logIndex");
        unordered += u64::from(now < last);
        last = now;
        let hash = result["blockHash"].as_str().context("no hash")?;
        *seen.entry((hash.to_owned(), index.to_owned())).or_default() += 1;
        if seen.len() > 50 && !told {
            told = true;
            handle.reorganise(3);
        }
    }
    ensure!(seen.values().any(|times| *times == 2), "no log came twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_cuts_forgets_limits_and_refuses_and_a_halted_one_has_empty_blocks() -> Result<()> {
    let faults = Faults { disconnect_every: Some(10), ..Faults::default() };
    let node = Node::bind("127.0.0.1:0", &config(faults, &ChainSettings::default())).await?;
    let url = node.url()?;
    tokio::spawn(node.run());
    let mut client = Client::open(&url).await?;
    while client.hear().await?.is_some() {}

    let faults = Faults { limit_requests_every: Some(3), refuse_first: 1, ..Faults::default() };
    let chain = ChainSettings { forget_subscriptions_every: Some(4), ..ChainSettings::default() };
    let node = Node::bind("127.0.0.1:0", &config(faults, &chain)).await?;
    let (url, handle) = (node.url()?, node.handle());
    tokio::spawn(node.run());
    let mut client = Client::open(&url).await?;
    client.say("eth_blockNumber", &json!([])).await?;
    let (mut codes, mut heads) = (Vec::new(), 0);
    // The subscription of heads is refused, that of logs is taken, and the third request is limited.
    while codes.len() < 2 {
        let frame: Value = serde_json::from_str(&client.hear().await?.context("cut")?)?;
        codes.extend(frame["error"]["code"].as_i64());
    }
    ensure!(codes == [-32_000, -32_005], "{codes:?}");
    client.say("eth_subscribe", &json!(["newHeads"])).await?;
    client.say("eth_chainId", &json!([])).await?;
    let mut after = 0;
    handle.halt();
    while after == 0 {
        let frame: Value = serde_json::from_str(&client.hear().await?.context("cut")?)?;
        heads += u64::from(frame["params"]["result"]["parentHash"].is_string());
        if heads == 4 {
            // Forgotten: what comes now is the answer to this.
            client.say("net_version", &json!([])).await?;
            heads = 5;
        } else if heads > 4 {
            after += u64::from(frame["id"] == 1);
        }
    }
    ensure!(heads == 5, "{heads} heads after the subscriptions were forgotten");
    Ok(())
}
