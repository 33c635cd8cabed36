// The custom resource definitions of other versions of External Secrets Operator; nothing of them is built.
module local/eso-definitions

go 1.26.0
