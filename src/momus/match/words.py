"""Word lists of `momus.match.text`: stop words, and endings of English and Korean words."""

STOP = """
a an the and or but if then than that this these those of in on at to for from by with without as is are was were be
been being it its they their them he she his her we our us you your i me my not no nor do does did done has have had
having can could may might must shall should will would there here which who whom whose what when where why how all any
each more most other some such only own same so too very just also into over under between about against during before
after above below up down out off again further once because while both few s t re ve ll d m
이 그 저 것 수 등 및 또 더 좀 또는 그리고 그러나 하지만 그런데 때문 대해 대한 위해 위한 통해 있다 없다 하다 되다
한다 된다 했다 합니다 있습니다 있는 없는
"""

ENGLISH = """
ational=ate ization=ize isation=ize fulness=ful iveness=ive ousness=ous ically=ic ations=ate ation=ate ments=ment
ities=ity ise=ize ising=ize ised=ize ies=y ied=y edly= ing= ness= ed= ly= es=e s=
"""
"""Endings in the order they are tried, and their replacements."""

PARTICLES = """
은 는 이 가 을 를 의 에 에서 에게 께 께서 로 으로 와 과 랑 이랑 하고 도 만 까지 부터 마저 조차 보다 처럼 같이 대로
밖에 라도 이라도 나 이나 든지 이든지 에는 에도 에서는 에서도 으로는 로는 으로도 로도 에게는 까지는 부터는 만은
만이 만을 과의 와의 에서의 으로의 로의 이다 입니다 였습니다 이었습니다 이며 이고 라고 이라고 라는 이라는
들 들이 들은 들을 들의 들과 들에게
"""
"""Korean particles, which follow nouns."""

VERB_ENDINGS = """
습니다 니다 합니다 했습니다 하였습니다 됩니다 되었습니다 됐습니다 했다 하였다 한다 하다 됐다 되었다 된다 되다
았다 었다 았습니다 었습니다 해요 했어요 어요 아요 네요 지요 죠 하는 하며 하고 하여 해서 하게 하기 한 할 함
되는 되며 되고 되어 된 될 됨 는다 으며 면서 지만 는데 은데 인데 어서 아서 려고 도록 면 으면 세요 주세요 십시오
하세요 하십시오 해 줘 을까 을까요 나요 까 니 냐 어 아 지
"""
"""Endings of Korean verbs and adjectives."""
