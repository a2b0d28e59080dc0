"""Typed manifests of the three kinds; the CRDs are generated from them. Imports no client."""
