//! Enums whose variants have names: on the wire, in tables, in files and in metrics.

/// Declares an enum. Each variant stands with its name.
#[macro_export]
macro_rules! named {
    (
        $(#[$of_enum:meta])*
        $visible:vis enum $Named:ident {
            $($(#[$of_variant:meta])* $Variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$of_enum])*
        $visible enum $Named {
            $($(#[$of_variant])* $Variant,)+
        }

        impl $Named {
            /// All of them, in order.
            $visible const ALL: [Self; [$($name),+].len()] = [$(Self::$Variant),+];

            /// The name.
            $visible const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }

            /// The one of that name.
            $visible fn parse(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == name)
            }
        }
    };
}
