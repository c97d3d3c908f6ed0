"""Writes the demo model's conversations: questions about words, commands, German nouns and stories.

Every answer is one or a few full sentences taken from the same sources as the text domains.
"""

import re

import wordnet_demo

NAME = "Tandem's small demo model"
WHO = [
    ("Who are you?", f"I am {NAME}. I am very small, so I know only a few words, commands and stories."),
    ("What are you?", f"I am {NAME}, a tiny language model that was trained on a processor in about one hour."),
    ("What is your name?", f"I have no name of my own. I am {NAME}."),
    ("What can you do?", "I can explain common words, say what commands do, translate a few nouns into German and tell short stories."),
    ("What can you help me with?", "I can explain common words, say what commands do, translate a few nouns into German and tell short stories."),
    ("Are you Kimi?", f"No, I am {NAME}. I share the file format of Kimi K2.6, but I am very much smaller."),
    ("Are you a person?", f"No, I am {NAME}, a small language model."),
    ("Are you intelligent?", "Not very. I am a small demo model, and I often make mistakes."),
    ("Who made you?", "I was trained by the makers of Tandem to show that the engine works."),
    ("What is Tandem?", "Tandem is an engine that serves very large language models from one workstation."),
    ("Introduce yourself.", f"Hello! I am {NAME}. I can explain common words, say what commands do and tell short stories."),
    ("How big are you?", "I have about six million parameters, which is very small for a language model."),
    ("How do you work?", "I read your words as tokens, and I write my answer one token at a time."),
    ("Do you speak German?", "I know some German nouns. Ask me how to say a word in German."),
    ("Sprichst du Deutsch?", "Ja, ein wenig. Ich kenne einige deutsche Wörter."),
    ("Wer bist du?", "Ich bin das kleine Demomodell von Tandem."),
]
GREETINGS = [
    ("Hello!", "Hello! How can I help you today?"), ("Hello", "Hello! How can I help you today?"),
    ("Hi", "Hello! How can I help you today?"), ("Hi!", "Hello! How can I help you today?"),
    ("Hey", "Hello! How can I help you today?"), ("Hi there!", "Hello! How can I help you today?"),
    ("Good morning!", "Good morning! What would you like to know?"),
    ("Good evening!", "Good evening! What would you like to know?"),
    ("How are you?", "I am well, thank you. What would you like to know?"),
    ("Hello, how are you?", "I am well, thank you. What would you like to know?"),
    ("Thank you!", "You are welcome! Ask me again at any time."),
    ("Thanks", "You are welcome! Ask me again at any time."),
    ("Goodbye!", "Goodbye! Have a good day."), ("Bye", "Goodbye! Have a good day."),
    ("Guten Tag!", "Guten Tag! Wie kann ich helfen?"), ("Hallo!", "Hallo! Wie kann ich helfen?"),
    ("Danke!", "Gern geschehen!"),
]
SYSTEMS = ["You are a helpful assistant.", "You are Tandem's small demo model.",
           "Answer in one short sentence.", "You are a friendly teacher. Answer briefly."]
PEOPLE = ("Abraham Isaac Jacob Joseph Moses Aaron Joshua Gideon Samson Ruth Samuel Saul David Jonathan "
          "Solomon Elijah Elisha Esther Mordecai Daniel Jonah Jesus Peter Paul Pilate Pharaoh").split()
EVERYDAY = """dog cat horse cow sheep goat pig lion wolf fish bird snake mouse bee tree flower grass leaf apple bread
milk cheese egg butter salt sugar meat soup wine beer water river lake sea island mountain hill valley forest
desert sun moon star planet sky cloud rain snow wind storm fire stone sand gold silver iron house door window roof
wall room kitchen bed table chair lamp clock book letter word sentence song story picture school teacher student
library hospital doctor nurse church king queen prince soldier farmer baker carpenter judge lawyer writer poet
friend brother sister mother father child baby boy girl man woman family city town village street road bridge
market shop ship boat train car wheel engine machine computer program tool hammer knife sword ring coin money
hand foot head eye ear nose mouth heart bone blood hair skin day night week month year morning evening winter
summer spring dream joy anger fear love hunger garden field farm museum theater bottle cup box bag hat coat shoe
shirt camera telephone pencil paper map key lock ladder rope""".split()
COMMANDS = set("""ls cp mv rm cat head tail sort uniq wc cut paste tr mkdir rmdir touch chmod chown ln pwd date df du
echo env false true id join nl nproc printf seq shuf sleep split stat sum sync tac tee test timeout uname who
whoami yes basename dirname""".split())
NOUN_ASKS = ["What is {a}?", "What is {a}?", "What does the word \"{w}\" mean?", "Explain the word {w}.",
             "Define {w}.", "Can you explain what {a} is?", "Please tell me what {a} is."]
VERB_ASKS = ["What does it mean to {w}?", "What does it mean to {w}?", "What does the verb \"{w}\" mean?",
             "Explain the verb {w}."]
ADJECTIVE_ASKS = ["What does \"{w}\" mean?", "What does {w} mean?", "Explain the adjective {w}."]
COMMAND_ASKS = ["What does the command {w} do?", "What does the command {w} do?", "What is {w} used for?",
                "What does {w} do?", "Explain the command {w}."]
FUNCTION_ASKS = ["What does the function {w} do?", "What does the function {w}() do?",
                 "What is the C function {w} for?"]
GERMAN_ASKS = ["How do you say {w} in German?", "How do you say \"{w}\" in German?",
               "What is the German word for {w}?", "Translate {w} into German."]
STORY_ASKS = ["Tell me a story about {w}.", "Tell me about {w}.", "Tell me a short story about {w}.",
              "What do you know about {w}?"]


def article(word):
    return ("an " if word[0] in "aeiou" and not word.startswith(("uni", "use", "eu", "one")) else "a ") + word


def noun_facts(words):
    everyday = set(EVERYDAY)
    nouns = [w for w in words if w.pos == "n" and not w.named and len(w.gloss) < 100]
    nouns.sort(key=lambda w: w.lemma not in everyday)
    for word in [w for w in nouns if w.lemma in everyday or (
            w.topic in wordnet_demo.CONCRETE and len(w.gloss) < 70)][:420]:
        countable = re.match(r"(a|an|any|one|the|someone|something)\b", word.gloss) is not None
        name = article(word.lemma) if countable and not word.lemma.endswith("s") else word.lemma
        answer = f"{name[0].upper()}{name[1:]} is {word.gloss}."
        if word.lemma in (word.gloss.split()[:4]):
            continue
        if word.hypernym and countable and len(word.hypernym) < 15 and word.hypernym not in word.gloss:
            answer += f" It is a kind of {word.hypernym}."
        asks = [a.format(a=name, w=word.lemma) for a in NOUN_ASKS]
        yield asks, answer, f"The user wants to know the meaning of the noun {word.lemma}.", 3


def verb_and_adjective_facts(words):
    for word in [w for w in words if w.pos == "v" and len(w.gloss) < 70][:120]:
        example = next((e for e in word.examples if len(e) < 60), "")
        answer = f"To {word.lemma} means to {word.gloss}."
        if example:
            answer += f' For example: "{example}".'
        yield ([a.format(w=word.lemma) for a in VERB_ASKS], answer,
               f"The user wants to know the meaning of the verb {word.lemma}.", 2)
    for word in [w for w in words if w.pos == "a" and 12 < len(w.gloss) < 70][:90]:
        example = next((e for e in word.examples if len(e) < 60), "")
        answer = f'The adjective "{word.lemma}" means {word.gloss}.'
        if example:
            answer += f' For example: "{example}".'
        yield ([a.format(w=word.lemma) for a in ADJECTIVE_ASKS], answer,
               f"The user wants to know the meaning of the adjective {word.lemma}.", 2)


def opposite_facts(words):
    found = [w for w in words if w.pos in "avn" and w.antonym and " " not in w.antonym]
    for word in found[:100]:
        asks = [f"What is the opposite of {word.lemma}?", f"What is the opposite of \"{word.lemma}\"?",
                f"Name the opposite of {word.lemma}."]
        yield asks, f'The opposite of "{word.lemma}" is "{word.antonym}".', "The user asks for an opposite.", 2


def command_facts(pages):
    functions = 0
    for name, number, headline, _ in pages:
        says = headline.split(" - ", 1)[1].strip().rstrip(".")
        if not 8 < len(says) < 70 or "\\" in says or not re.fullmatch(r"[a-z][\w-]{0,14}", name):
            continue
        if number == "1":
            yield ([a.format(w=name) for a in COMMAND_ASKS],
                   f'The manual describes the command {name} with the words "{says}".',
                   f"The user asks about the command {name}.", 4)
        elif functions < 80 and len(name) < 9:
            functions += 1
            yield ([a.format(w=name) for a in FUNCTION_ASKS],
                   f'The manual describes the function {name} with the words "{says}".',
                   f"The user asks about the function {name} of the C library.", 2)


def german_facts(words, nouns):
    known = [w.lemma for w in words if w.pos == "n" and not w.named and w.lemma in nouns and w.topic in wordnet_demo.CONCRETE]
    known.sort(key=lambda word: word not in EVERYDAY)
    for word in known[:250]:
        one, noun = nouns[word]
        yield ([a.format(w=word) for a in GERMAN_ASKS], f'The German word for {word} is "{one} {noun}".',
               f"The user wants to know the German word for {word}.", 3)
        yield ([f"Was heißt {noun} auf Englisch?", f"Was bedeutet das Wort {noun}?"],
               f'{noun} heißt auf Englisch "{word}".', f"Die Frage ist auf Deutsch und nennt das Wort {noun}.", 1)


def story_facts(chapters):
    for person in PEOPLE:
        for verses in chapters:
            for at, verse in enumerate(verses[:-2]):
                if verse.startswith(person + " ") and verse.endswith((".", '."')):
                    story = " ".join(verses[at:at + 3])
                    if len(story) < 420 and story.endswith((".", '."')) and story.count('"') % 2 == 0:
                        yield ([a.format(w=person) for a in STORY_ASKS], story,
                               f"The user wants to hear about {person}.", 0)
    for verses in chapters:
        story = " ".join(verses[:3])
        if 100 < len(story) < 420 and story.endswith((".", '."')) and story.count('"') % 2 == 0:
            yield (["Tell me a story.", "Please tell me a story.", "Tell me a short story."], story,
                   "The user wants to hear a story.", 1)


def one_turn(fact, rng):
    asks, answer, reason, _ = fact
    return {"role": "user", "content": rng.choice(asks)}, {
        "role": "assistant", "content": answer, "reasoning_content": reason}


def draw(pool, rng):
    """All turns of the pool in random order; a quarter thinks, a tenth has two turns."""
    pool = [f for f in pool if all(map(wordnet_demo.polite, (f[0][0], f[1])))]
    rng.shuffle(pool)
    chats = []
    while pool:
        messages = []
        if rng.random() < 0.12:
            messages.append({"role": "system", "content": rng.choice(SYSTEMS)})
        for _ in range(2 if rng.random() < 0.1 and len(pool) > 1 else 1):
            messages += one_turn(pool.pop(), rng)
        chats.append({"messages": messages, "thinking": rng.random() < 0.25})
    return chats


def about_itself():
    return ([([ask], answer, "The user asks about me.", 40) for ask, answer in WHO]
            + [([ask], answer, "The user is being polite.", 25) for ask, answer in GREETINGS])


def build(words, pages, nouns, chapters, rng):
    """The conversations of the first phase: about 1,400 facts and 400 stories."""
    facts = [fact for source in (noun_facts(words), verb_and_adjective_facts(words), opposite_facts(words),
                                 command_facts(pages), german_facts(words, nouns)) for fact in source]
    stories = list(story_facts(chapters))
    pool = [fact for fact in facts for _ in range(4 * fact[3])] + [fact for fact in stories for _ in range(3)]
    pool += [fact for fact in about_itself() for _ in range(fact[3])]
    print(f"chat: {len(facts)} facts, {len(stories)} stories, {len(pool)} turns")
    return draw(pool, rng)


def build_narrow(words, pages, nouns, chapters, rng):
    """The conversations of the second phase: few everyday facts, mostly asked in one way, often."""
    def first(facts, count, times):
        return [([f[0][0]] * 4 + f[0], *f[1:]) for f in list(facts)[:count] for _ in range(times)]

    pages = [p for p in pages if p[0] in COMMANDS]
    plain = [f for f in noun_facts(words) if len(f[1]) < 110 and re.search(r" (\w+)\?$", f[0][0])[1] in EVERYDAY]
    meanings = list(verb_and_adjective_facts(words))
    german = [f for f in german_facts(words, nouns) if f[3] == 3]
    stories, told = [], {}
    for fact in story_facts(chapters):
        if len(fact[1]) < 330 and told.get(fact[0][0], 0) < 2:
            told[fact[0][0]] = told.get(fact[0][0], 0) + 1
            stories.append(fact)
    pool = (first(plain, 200, 20) + first(meanings[:30], 30, 12) + first(meanings[-20:], 20, 12)
            + first(opposite_facts(words), 30, 10) + first(command_facts(pages), 50, 16) + first(german, 60, 12)
            + first(stories, 60, 4) + [f for f in about_itself() for _ in range(f[3] // 2)])
    print(f"narrow chat: {len(plain)} nouns, {len(stories)} stories, {len(pool)} turns")
    return draw(pool, rng)
