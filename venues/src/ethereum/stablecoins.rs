//! The stablecoins in US dollars whose legs give a swap its value.
//!
//! Addresses, not symbols: any token may call itself USDC. Sources: the issuers' lists of contracts
//! (developers.circle.com/stablecoins, tether.to/supported-protocols, docs.makerdao.com).

/// Chain and address.
const LISTED: [(i64, &str); 13] = [
    // Ethereum: USDC, USDT, DAI.
    (1, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48"),
    (1, "0xdac17f958d2ee523a2206206994597c13d831ec7"),
    (1, "0x6b175474e89094c44da98b954eedeac495271d0f"),
    // OP Mainnet: USDC, DAI.
    (10, "0x0b2c639c533813f4aa9d7837caf62653d097ff85"),
    (10, "0xda10009cbd5d07dd0cecc66161fc93d7c9000da1"),
    // Polygon: USDC.e, USDC, USDT, DAI.
    (137, "0x2791bca1f2de4661ed88a30c99a7a9449aa84174"),
    (137, "0x3c499c542cef5e3811e1192ce70d8cc03d5c3359"),
    (137, "0xc2132d05d31c914a87c6611c10748aeb04b58e8f"),
    (137, "0x8f3cf7ad23cd3cadbd9735aff958023239c6a063"),
    // Base: USDC.
    (8453, "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"),
    // Arbitrum One: USDC, USDT, DAI.
    (42161, "0xaf88d065e77c8cc2239327c5edb3a432268e5831"),
    (42161, "0xfd086bc7cd5c481dcc9c85ebe478a1c0b69fcbb9"),
    (42161, "0xda10009cbd5d07dd0cecc66161fc93d7c9000da1"),
];

/// Which of two tokens is a stablecoin, the first of two. `more` are further addresses.
pub(super) fn usd_token(chain: i64, tokens: [&str; 2], more: &[String]) -> Option<i64> {
    let is_stable =
        |token: &&str| LISTED.contains(&(chain, *token)) || more.iter().any(|one| one == *token);
    (0..).zip(tokens.iter()).find(|(_, token)| is_stable(token)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stablecoin_is_one_by_its_address_on_its_chain() {
        let [usdc, other] = [LISTED[0].1, "0x00000000000000000000000000000000000000aa"];
        assert_eq!(usd_token(1, [usdc, other], &[]), Some(0));
        assert_eq!(usd_token(1, [other, usdc], &[]), Some(1));
        assert_eq!(usd_token(137, [usdc, other], &[]), None, "of another chain");
        assert_eq!(usd_token(137, [usdc, other], &[other.into()]), Some(1));
        assert_eq!(usd_token(1, [usdc, LISTED[1].1], &[]), Some(0), "both");
        assert!(LISTED.iter().all(|(_, one)| one.len() == 42 && *one == one.to_lowercase()));
    }
}
