// What llama.cpp makes of a model, through node-llama-cpp, to compare ours with.
// node greedy.mjs PACKAGES MODEL.gguf TOKENS < PROMPTS: reads one {"ids": [..]} a line; writes the greedy ids that follow,
// and the natural logarithm of each id's probability at the first of them: {"ids": [..], "logprobs": {"id": number}}.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import {readFileSync} from "node:fs";

const [packages, model, tokens] = process.argv.slice(2);
const require = createRequire(pathToFileURL(packages + "/node_modules/"));
const {getLlama} = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const llama = await getLlama({gpu: false, build: "never", maxThreads: 1, logLevel: "error"});
const loaded = await llama.loadModel({modelPath: model});

async function first(ids, count, options) {
  const context = await loaded.createContext({contextSize: 512, threads: 1, flashAttention: false});
  const steps = [];
  const all = {...options, yieldEogToken: true};
  for await (const step of context.getSequence().evaluateWithMetadata(ids, {probabilities: true}, all)) {
    steps.push(step);
    if (steps.length >= count) {
      break;
    }
  }
  await context.dispose();
  return steps;
}

for (const line of readFileSync(0, "utf8").trim().split("\n")) {
  const {ids} = JSON.parse(line);
  const greedy = await first(ids, Number(tokens), {temperature: 0});
  const [whole] = await first(ids, 1, {temperature: 1, topK: 0, topP: 1, minP: 0});
  const logprobs = Object.fromEntries([...whole.probabilities].map(([id, p]) => [id, Math.log(p)]));
  console.log(JSON.stringify({ids: greedy.map((step) => Number(step.token)), logprobs}));
}
process.exit(0);
