#!/usr/bin/env python3
"""Writes the tokenizers of this folder and the ids that the Hugging Face tokenizers library gives.

Usage: make.py            (needs: pip install tokenizers==0.23.3)

The tokenizers are small, of the kinds that models have, trained on the sentences below. expected.json
holds texts and, for each tokenizer, their ids; one test compares.
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
            r"|\s*[\r\n]+|\s+(?!\S)|\s+").replace(r"\r\n", "\r\n")  # the characters, as in the models' files
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
MARK = "\u2581"

SENTENCES = """A router in front of many servers keeps prompts that begin alike on the server that has seen them before.
The prefix of a prompt is cached in blocks of tokens, and a block is found again by the hash of what it holds.
She didn't know whether they'd arrive at 10:30 or at 11:45; it's 2024 after all, and we've 1,234 things to do.
def encode(self, text: str) -> list[int]:\n    return [self.vocab[t] for t in self.split(text) if t in self.vocab]
{"model": "demo", "messages": [{"role": "user", "content": "Hello, world!"}], "max_tokens": 128, "stream": true}
for (size_t i = 0; i < n; ++i) {\n\tsum += values[i] * weights[i];\n}\r\nreturn sum / n;
Les élèves français étudient à l'école près de la forêt; où êtes-vous allés l'été dernier, là-bas ou ici?
Die Straßenbahn fährt über die Brücke zum Münchner Hauptbahnhof, während die Vögel schön singen.
Быстрая лиса перепрыгнула через ленивую собаку, и все смотрели на это с удивлением.
Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί και όλοι κοιτάζουν με έκπληξη.
今天天气很好，我们一起去公园散步吧。人工智能正在改变世界，模型需要很多数据。
東京は日本の首都です。カタカナとひらがなと漢字を使います。
빠른 갈색 여우가 게으른 개를 뛰어넘는다. 한국어 문장도 있습니다.
السلام عليكم، كيف حالك اليوم؟ هذا نص باللغة العربية.
यह हिन्दी में लिखा हुआ एक वाक्य है। नमस्ते दुनिया।
สวัสดีครับ วันนี้อากาศดีมาก
We love 🍕 and 🎉 and 👍🏽 and 👩‍💻 at work 🙂!""".split("\n")

TEXTS = [
    "", " ", "  ", "\n", "\r\n", "\t", "a", "A router in front of many servers", "Hello, world!", " Hello", "Hello ",
    "I'll we've can't DON'T they're you'd 'S 'Tis it's", "'\u017ft '\u017f", "10:30 1234567890 3.14159 1,000,000 2024",
    "\u00bd \u00b2 \u2167 \u0663\u0664\u0665 \u2460 \u096a\u0968", "line one\nline two\r\nline three\rline four\n\n\nend",
    "    indented\n\t\ttabs\n  \t mixed   \n", "trailing   ", "   leading", "a" * 70, "a" * 300 + " " + "b" * 100,
    " " * 90, "\n" * 40 + "x", "- " * 50, "=" * 130, "ab" * 200, "the" * 90,
    "\u00e9l\u00e8ve e\u0301le\u0300ve \u212b \u00c5 A\u030a", "\u1100\u1161\u11a8 \uac01 \uac00\u11a8", "q\u0323\u0307 q\u0307\u0323",
    "\ufb01 \uff05 \uff8a\uff9f \u3231 \u2474 \u00aa", "\u0130stanbul ISTANBUL \u1e9e\u00df", "\u0421\u043e\u0431\u0430\u043a\u0430 \u0431\u044b\u0441\u0442\u0440\u0430\u044f",
    "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u4e00\u8d77\u53bb\u516c\u56ed\u3002abc123\u4f60\u597d", "\u6771\u4eac\u306f\u30ab\u30bf\u30ab\u30ca\u3067\u3059\u3002",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645\u060c \u0643\u064e\u064a\u0652\u0641\u064e",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\u0964", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "\U0001f469\u200d\U0001f4bb \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u263a\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\u00a0nbsp\u00a0 \u3000wide \u2028sep\u2029 \u0085nel \u180emvs \u200bzero \ufeffbom", "\x00\x01\x7f\x1b[0m\u009f", "\ufffd\ufffe\U0010ffff\ue000",
    "<s>text</s>", "<|bos|>one<|eot|>two", "<|bos|><|bos|> <|eot|>", "a <mask> b<mask>c", " <mask>  <mask> ", "<pad> <pad>x x<pad>",
    "word wordy sword word-word word", "WORD Word w\u00f6rd", "foo  <strip>  bar", "<strip><strip>", "x<|bos", "<|bos|", "<<|bos|>>",
    "\u2581 \u2581\u2581a\u2581b", "a\u2581b c", "<0x0A> <0xFF>", "<unk>x<unk>", "unknown \u2603 \u2708 \u1f4a\u0d05\u0d06",
    "CamelCaseWords and HTTPServer XMLParser iPhone", "path/to/file.txt C:\\dir\\file", "x_y__z --flag=value $VAR ${VAR} #tag @me",
    "if (a && b || !c) { return a ? b : c; } // end", "{\"a\": [1, 2, {\"b\": null}]}\n", "\u0301combining first", "a\u0301\u0302\u0303\u0304b",
    "\u01c5\u01c8 \u02b0\u02b1 \u00aa\u00ba", "na\u00efve caf\u00e9 \u0153uvre", "\u0391\u03bb\u03b5\u03c0\u03bf\u03cd \u1f00\u1f01", "tab\tsep\tvalues\n1\t2\t3",
    "A" * 50 + "a" * 50, "aB" * 50, "1" * 50, "1a" * 50, ".a" * 50, "\u00e9" * 60, "e\u0301" * 60, "\u4e2d" * 60, "\U0001f642" * 30, "\u2603" * 40,
    "\n \n  \n   \n", " \n", "\n ", "a\n", "a \n b", "a\u00a0\n", "\u3000\u3000a", "   \r\n\r\n   x",
]


def random_texts(count):
    rng = random.Random(4)
    pool = [w for s in SENTENCES for w in s.split()] + [" ", "  ", "\n", "\t", "<|bos|>", "<mask>", "\u0301", MARK]
    return ["".join(rng.choice(pool)[:rng.randint(1, 9)] + rng.choice(["", " ", " ", "\n", "'"]) for _ in range(rng.randint(3, 30)))
            for _ in range(count)]


def trained(tokenizer, size, byte_level, special):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, min_frequency=1,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if byte_level else [])
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return tokenizer


def byte_level(pattern, size, special, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(p), "isolated") for p in pattern] + [pre_tokenizers.ByteLevel(False, use_regex=False)])
    return trained(t, size, True, special)


def template(tokenizer, bos):
    return processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                         special_tokens=[(bos, tokenizer.token_to_id(bos))])


def llama3():
    t = byte_level([LLAMA3], 900, ["<|bos|>", "<|eot|>"], ignore_merges=True)
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template(t, "<|bos|>")])
    return t


def qwen():
    t = byte_level([QWEN], 900, ["<|bos|>", "<|eot|>"])
    t.normalizer = normalizers.NFC()
    t.add_tokens([AddedToken("<mask>", normalized=False), AddedToken("\u00e9l\u00e8ve", normalized=True)])
    return t


def deepseek():
    t = byte_level([r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK], 800, ["<|bos|>", "<|eot|>"])
    t.normalizer = normalizers.Sequence([])
    t.add_tokens([AddedToken("<mask>", normalized=True)])
    return t


def o200k():
    return byte_level([O200K], 800, ["<|bos|>"], ignore_merges=True)


def gpt2():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(True)])
    trained(t, 700, True, ["<|bos|>"])
    t.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<strip>", rstrip=True)])
    return t


def metaspace_model(size, **model):
    t = Tokenizer(models.BPE(unk_token="<unk>", **model))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"]
    if model.get("byte_fallback"):
        special += [f"<0x{b:02X}>" for b in range(256)]
    return trained(t, size, False, special)


def llama2():
    t = metaspace_model(1000, byte_fallback=True, fuse_unk=True)
    # The bytes are no special tokens of the file.
    j = json.loads(t.to_str())
    j["added_tokens"] = j["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(j))
    t.pre_tokenizer = None
    t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    t.post_processor = template(t, "<s>")
    return t


def metaspace():
    t = metaspace_model(700, fuse_unk=False)
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.add_tokens([AddedToken("word", single_word=True), AddedToken("<pad>", single_word=True, lstrip=True, rstrip=True)])
    return t


def gemma():
    t = metaspace_model(700, fuse_unk=True, byte_fallback=True)
    t.normalizer = normalizers.Replace(" ", MARK)
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return t


def mixed():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Sequence([
        normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("-", "merged_with_previous"), pre_tokenizers.Split(Regex("[aeiou]"), "merged_with_next"),
        pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("x+"), "removed", invert=False)])
    trained(t, 500, False, ["<unk>", "<s>"])
    t.add_tokens([AddedToken("WORD", single_word=True, normalized=True), AddedToken("\u212b", normalized=True)])
    t.post_processor = processors.RobertaProcessing(("<s>", 1), ("<s>", 1))
    return t


def decomposed():
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.NFKD()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\w+"), "contiguous", invert=True),
        pre_tokenizers.Punctuation("merged_with_next")])
    return trained(t, 500, False, ["<unk>"])


def main():
    texts = TEXTS + random_texts(60)
    expected = {"texts": texts, "ids": {}}
    for make in (llama3, qwen, deepseek, o200k, gpt2, llama2, metaspace, gemma, mixed, decomposed):
        t = make()
        j = json.loads(t.to_str())
        if make is llama3:  # as older files have them
            j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
        path = HERE / f"{make.__name__}.json"
        path.write_text(json.dumps(j, ensure_ascii=False, separators=(",", ":")) + "\n")
        t = Tokenizer.from_file(str(path))
        expected["ids"][make.__name__] = [t.encode(text).ids for text in texts]
    (HERE / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
