import eslint from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config({ ignores: ["dist/", "gen/"] }, eslint.configs.recommended, {
  files: ["**/*.ts"],
  extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
  languageOptions: { parserOptions: { projectService: true } },
  rules: {
    // It does not end for a type that refers to itself, as Value does.
    "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
    // The runner waits for what it is told to test.
    "@typescript-eslint/no-floating-promises": [
      "error",
      { allowForKnownSafeCalls: [{ from: "package", name: ["test", "suite"], package: "node:test" }] },
    ],
    // An object of a `type` can be put, of an interface not: others might add members to it.
    "@typescript-eslint/consistent-type-definitions": "off",
    // What a parameter means is part of a signature.
    "@typescript-eslint/unified-signatures": ["error", { ignoreDifferentlyNamedParameters: true }],
    // Numbers in texts are what they look like.
    "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    // For indexes that are within bounds, which types do not show.
    "@typescript-eslint/no-non-null-assertion": "off",
    // A loop that only counts, or is left at once, does not look at its items.
    "@typescript-eslint/no-unused-vars": ["error", { varsIgnorePattern: "^_$" }],
    // `while (true)` is a loop that its body leaves.
    "@typescript-eslint/no-unnecessary-condition": ["error", { allowConstantLoopConditions: "only-allowed-literals" }],
  },
});
