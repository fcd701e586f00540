// Greedy answers of transformers.js to prompts about pictures, as JSON.
//
//     node scripts/transformers_js.cjs PACKAGES MODEL REQUESTS
//
// PACKAGES is the folder that has node_modules, MODEL a directory that export_onnx wrote,
// REQUESTS a JSON file: {"max_new_tokens": n, "rows": [{"image": path, "prompt": text}]}.
// Printed is a list of {"prompt_ids", "pixel_sum", "answer_ids", "text"}.

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

const [packages, directory, requests] = process.argv.slice(2);
const {
  AutoProcessor,
  PaliGemmaForConditionalGeneration,
  RawImage,
  env,
} = createRequire(path.resolve(packages, "package.json"))("@huggingface/transformers");

async function main() {
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(path.resolve(directory));
  const name = path.basename(path.resolve(directory));
  const processor = await AutoProcessor.from_pretrained(name);
  const model = await PaliGemmaForConditionalGeneration.from_pretrained(name, {
    device: "cpu",
  });
  const { max_new_tokens, rows } = JSON.parse(fs.readFileSync(requests, "utf-8"));
  const answers = [];
  for (const { image, prompt } of rows) {
    const picture = await RawImage.read(image);
    const inputs = await processor(picture, `<image>${prompt}`);
    const ids = await model.generate({ ...inputs, max_new_tokens, do_sample: false });
    const all = ids.tolist()[0].map(Number);
    const prompt_ids = inputs.input_ids.tolist()[0].map(Number);
    const answer_ids = all.slice(prompt_ids.length);
    answers.push({
      prompt_ids,
      pixel_sum: inputs.pixel_values.data.reduce((sum, value) => sum + value, 0),
      answer_ids,
      text: processor.tokenizer.decode(answer_ids, { skip_special_tokens: true }),
    });
  }
  process.stdout.write(JSON.stringify(answers) + "\n");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
