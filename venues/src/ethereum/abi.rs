//! The events and calls of pools and tokens, by their declarations in Solidity.
//!
//! The library derives topics, selectors, encoders and decoders from them.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "the macro writes public items without comments"
)]

use alloy_sol_types::sol;

sol! {
    interface V3 {
        event Swap(
            address indexed sender,
            address indexed recipient,
            int256 amount0,
            int256 amount1,
            uint160 sqrtPriceX96,
            uint128 liquidity,
            int24 tick
        );
        function fee() external view returns (uint24);
    }

    interface V2 {
        event Swap(
            address indexed sender,
            uint256 amount0In,
            uint256 amount1In,
            uint256 amount0Out,
            uint256 amount1Out,
            address indexed to
        );
        function token0() external view returns (address);
        function token1() external view returns (address);
    }

    interface Token {
        function decimals() external view returns (uint8);
        function symbol() external view returns (string);
    }

    interface OldToken {
        function symbol() external view returns (bytes32);
    }
}
